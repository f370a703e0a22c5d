"""What is gathered once from the original network on calibration images: Gram matrices, and targets for the fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.pruning.contexts import LayerContext, OperatorCounter, stopped
from amc_hw.pruning.formulas import Formulas, Operands, take_statistics
from amc_hw.pruning.least_squares import inner_products
from amc_hw.pruning.positions import Fitted, PositionSampler


@dataclass
class Gram:
    """The second moments of a layer's inputs: (groups, inputs, inputs), about the mean (groups, inputs).

    The mean is zero where the layer can hold no bias, neither itself nor in the batch norm behind it.
    """

    matrix: Tensor
    mean: Tensor


@dataclass
class Targets:
    """What a layer gave in the original at its sampled positions (rows, outputs), and the other side of its sum."""

    output: Tensor
    partner: Tensor | None


def estimate_norms(model: nn.Module, norms: Iterable[nn.Module], images: Tensor) -> None:
    """Replace the running mean and variance of batch norms by those of what they see, exactly, in one forward pass.

    Each norm is replaced before it runs, so the ones behind it see what it then gives.

    Args:
        model: in evaluation mode.
        norms: of the model, with running statistics.
        images: (N, C, H, W), more than one.
    """

    names = {id(norm) for norm in norms}
    chosen = {name: module for name, module in model.named_modules() if id(module) in names}
    with torch.no_grad(), Formulas(chosen, norm_before=lambda name, x: take_statistics(chosen[name], x)):
        model(images)


def holds_bias(layer: Fitted, context: LayerContext) -> bool:
    """Whether a layer's result can be shifted."""
    return layer.bias is not None or context.norm is not None


def gather_grams(
    model: nn.Module,
    layers: Mapping[str, Fitted],
    contexts: Mapping[str, LayerContext],
    batches: Iterable[Tensor],
    points: int,
    seed: int,
) -> dict[str, Gram]:
    """Return the Gram matrix of every layer.

    Args:
        model: the original, in evaluation mode.
        layers: of the model, by name.
        contexts: of the layers.
        batches: images (N, C, H, W).
        points: output positions sampled per image.
        seed: of the positions.

    Raises:
        UnsupportedModelError: a layer does not run for some of the images.
    """
    origins: dict[str, Tensor] = {}
    products: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    rows: dict[str, int] = {}
    calls: Counter[str] = Counter()

    sampler = {name: PositionSampler(points, seed, name) for name in layers}

    def gather(name: str, called: Operands) -> None:
        calls[name] += 1
        x = sampler[name].inputs(called).transpose(0, 1)
        if name not in origins:  # near the mean, so that its square does not drown the rest
            origins[name] = x.mean(1) * holds_bias(layers[name], contexts[name])
        x = x - origins[name][:, None]
        product, total = inner_products(x).double(), x.sum(1).double()
        products[name] = products[name] + product if name in products else product
        sums[name] = sums[name] + total if name in sums else total
        rows[name] = rows.get(name, 0) + x.shape[1]

    with torch.no_grad(), Formulas(layers, before=gather):
        for number, images in enumerate(batches, start=1):
            model(images)
            left_out = [name for name in layers if calls[name] != number]
            if left_out:
                raise UnsupportedModelError(
                    f"the layer {left_out[0]} ran when the network was traced, and does not for every image: "
                    "the forward chooses its way by what it sees, and only one way can be pruned and exported."
                )
    grams = {}
    for name, product in products.items():
        mean = sums[name] / rows[name] * holds_bias(layers[name], contexts[name])
        matrix = product / rows[name] - mean[:, :, None] * mean[:, None, :]
        grams[name] = Gram(matrix, mean + origins[name].double())
    return grams


def gather_targets(
    model: nn.Module,
    layers: Mapping[str, Fitted],
    contexts: Mapping[str, LayerContext],
    images: Tensor,
    points: int,
    seed: int,
) -> dict[str, Targets]:
    """Return the targets of every layer, from one forward pass of all images."""
    counter = OperatorCounter(contexts[name].partner for name in layers)
    targets: dict[str, Targets] = {}

    def gather(name: str, output: Tensor) -> None:
        with stopped():
            sampler = PositionSampler(points, seed, name)
            partner = counter.used(contexts[name].partner)
            beside = None if partner is None else sampler.outputs(layers[name], partner)
            targets[name] = Targets(sampler.outputs(layers[name], output), beside)

    with torch.no_grad(), counter, Formulas(layers, after=gather):
        model(images)
    return targets
