"""Ways to round a network for its int8 file, which `rounding.py` compares.

A network's batch norms are folded in; what a rewrite leaves is a network again, whose weights may already stand on the
grid that the file's quantizer makes of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.batches import Arrays
from amc_hw.formats.scales import of_one_scale
from amc_hw.formats.tflite.activations import JOINED, MOVED, range_entry, values_of
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.pruning.formulas import Formulas, Operands
from amc_hw.pruning.positions import Fitted, PositionSampler
from amc_hw.quantize.tape import WEIGHTED, Calls, record
from amc_hw.tracing.same import computes_the_same

MOST = 127
POINTS = 16
DAMPING = 0.01
PRIOR = 0.05
"""Of the mean diagonal of the Gram matrix, as GPTQ has it, and for the fit before it."""
PASSES = 20
SAMPLED = 1024
"""Values of each tensor of each image, from which the squared error is known."""


def layers_of(model: nn.Module) -> dict[str, Fitted]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def nearest(weights: Tensor) -> Tensor:
    """Return weights (groups, targets, inputs) rounded to 255 values of each target, the largest of which is kept."""
    scale = weights.abs().amax(2, keepdim=True).clamp_min(1e-9) / MOST
    return (weights / scale).round() * scale


def by_gram(weights: Tensor, gram: Tensor) -> Tensor:
    """Return weights (groups, targets, inputs) rounded one input after the other, the error carried on to the others.

    GPTQ (Frantar et al. 2022, arXiv:2210.17323), inputs with the largest second moments first. A target's largest
    weight stays, so that its scale does, and a target that nearest rounding serves better is rounded so.

    Args:
        weights: (groups, targets, inputs).
        gram: (groups, inputs, inputs), mean products of the inputs.
    """
    scale = weights.abs().amax(2, keepdim=True).clamp_min(1e-9) / MOST
    exact = weights / scale
    diagonal, inputs = gram.diagonal(dim1=1, dim2=2), gram.shape[1]
    order = diagonal.argsort(1, descending=True)
    ridge = (DAMPING * diagonal.mean(1, keepdim=True) + 1e-9).expand(-1, inputs)
    sorted_gram = (gram + torch.diag_embed(ridge)).gather(1, order[:, :, None].expand_as(gram))
    sorted_gram = sorted_gram.gather(2, order[:, None].expand_as(gram))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(sorted_gram)), upper=True)
    carried = upper / upper.diagonal(dim1=1, dim2=2)[:, :, None]
    places = order[:, None].expand_as(exact)
    left = exact.gather(2, places)
    largest = torch.zeros_like(exact).scatter_(2, exact.abs().argmax(2, keepdim=True), 1.0).gather(2, places)
    kept, chosen = left.clone(), torch.empty_like(left)
    for column in range(inputs):
        free = left[..., column].round().clamp(-MOST, MOST)
        chosen[..., column] = torch.where(largest[..., column] > 0, kept[..., column].round(), free)
        error = left[..., column] - chosen[..., column]
        left[..., column + 1 :] -= error[..., None] * carried[:, None, column, column + 1 :]
    carried_on, plain = torch.empty_like(chosen).scatter_(2, places, chosen), exact.round()
    better = _error(carried_on - exact, gram) <= _error(plain - exact, gram)
    return torch.where(better, carried_on, plain) * scale


def _error(difference: Tensor, gram: Tensor) -> Tensor:
    return ((difference @ gram) * difference).sum(2, keepdim=True)


@dataclass(frozen=True)
class Rounding:
    """Rounds a network's layers one after the other, on the inputs that the rounded ones before give.

    Attributes:
        carry: round by the Gram matrix; else to nearest.
        correct: have every layer's mean outputs be those of the float network (Nagel et al. 2019, section 4.2).
        refit: fit the weights by least squares to the float network's outputs first.
    """

    carry: bool = False
    correct: bool = False
    refit: bool = False

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor) -> nn.Module:
        """Return the rounded network."""
        new, targets = copy.deepcopy(model), _outputs(model, images)
        layers, seen = layers_of(new), set[str]()

        def fit(name: str, called: Operands) -> None:
            if name not in seen:
                seen.add(name)
                self._write(layers[name], PositionSampler(POINTS, 0, name).inputs(called), targets[name])

        with Formulas(layers, before=fit):
            new(images)
        return new

    def _write(self, layer: Fitted, x: Tensor, y: Tensor) -> None:
        """Round a layer, from its inputs (rows, groups, inputs) and what it gave in the float network (rows, out)."""
        x = x.transpose(0, 1).double()
        y = y.view(x.shape[1], len(x), -1).transpose(0, 1).double()
        mean_x, mean_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        centred = x - mean_x * self.correct
        gram = centred.transpose(1, 2) @ centred / x.shape[1]
        weights = layer.weight.double().reshape(len(x), -1, x.shape[2])
        if self.refit:
            cross = centred.transpose(1, 2) @ (y - mean_y) / x.shape[1]
            ridge = (PRIOR * gram.diagonal(dim1=1, dim2=2).mean(1, keepdim=True) + 1e-9).expand(-1, len(gram[0]))
            step = torch.linalg.solve(gram + torch.diag_embed(ridge), cross - gram @ weights.transpose(1, 2))
            weights = weights + step.transpose(1, 2)
        rounded = by_gram(weights, gram) if self.carry else nearest(weights)
        layer.weight.copy_(rounded.reshape(layer.weight.shape))
        if self.correct and layer.bias is not None:
            layer.bias.copy_((mean_y - mean_x @ rounded.transpose(1, 2)).flatten())


def _outputs(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return what layers give, at sampled positions (rows, outputs)."""
    layers, found = layers_of(model), dict[str, Tensor]()

    def gather(name: str, y: Tensor) -> None:
        found.setdefault(name, PositionSampler(POINTS, 0, name).outputs(layers[name], y))

    with Formulas(layers, after=gather):
        model(images)
    return found


@torch.no_grad()
def equalised(model: nn.Module, images: Tensor) -> nn.Module:
    """Return a network whose layers share out the sizes of their channels with the layers behind (arXiv:1906.04721).

    Channel for channel, the weights that make it are divided and those that read it multiplied, until both are as
    large. A ReLU lets a factor pass, a ReLU6 does not.

    Raises:
        UnsupportedModelError: the outputs would not be what they were.
    """
    new = copy.deepcopy(model)
    layers = layers_of(new)
    pairs = [(layers[one], layers[other]) for one, other in _pairs(new, images)]
    for _ in range(PASSES):
        for made, read in pairs:
            axis = 1 if read.weight.shape[1] > 1 else 0
            by_channel = read.weight.transpose(0, axis).flatten(1)
            sizes = made.weight.flatten(1).abs().amax(1), by_channel.abs().amax(1)
            factor = torch.where((sizes[0] > 0) & (sizes[1] > 0), (sizes[0] / sizes[1]).sqrt(), 1.0).clamp(1e-3, 1e3)
            made.weight.div_(factor.view(-1, *[1] * (made.weight.dim() - 1)))
            made.bias.div_(factor)
            read.weight.mul_(factor.view([-1 if each == axis else 1 for each in range(read.weight.dim())]))
    if not computes_the_same(model, new, images[:8]):
        raise UnsupportedModelError("an equalised network computes something else.")
    return new


def _pairs(model: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Return layers and the layers that alone read them, directly or through a ReLU."""
    layers, called = layers_of(model), list[str]()
    names = {id(layer.weight): name for name, layer in layers.items()}

    def note(weight: Tensor) -> Tensor:
        called.append(names.get(id(weight), ""))
        return weight

    with Calls(lambda _, __, result: result, note):
        model(images[:2])
    calls = record(model, images[:2]).calls
    numbers = [number for number, call in enumerate(calls) if call.name in WEIGHTED]
    name_of = {number: name for number, name in zip(numbers, called, strict=True) if called.count(name) == 1 and name}
    pairs = []
    for number, name in name_of.items():
        source = calls[number].reads[0]
        while source >= 0 and calls[source].name == "relu" and calls[source].readers == 1:
            source = calls[source].reads[0]
        if source in name_of and calls[source].readers == 1 and _may_be_scaled(layers, name_of[source], name):
            pairs.append((name_of[source], name))
    return pairs


def _may_be_scaled(layers: dict[str, Any], made: str, read: str) -> bool:
    groups = getattr(layers[read], "groups", 1)
    same = layers[made].weight.shape[0] == layers[read].weight.shape[1] * groups
    depthwise = groups == layers[read].weight.shape[0]
    return layers[made].bias is not None and same and (groups == 1 or depthwise)


Ranges = dict[str, dict[str, NDArray[np.float32]]]


def least_error_ranges(content: bytes, graph: TfliteGraph, inputs: Arrays, tail: Collection[int] = ()) -> Ranges:
    """Return the range of every activation that leaves the least squared error on 8 bits; see `activation_ranges`."""
    seen, ranks = dict[str, list[NDArray[Any]]](), dict[str, int]()
    drawn = np.random.default_rng(0)
    for tensors in values_of(content, graph, inputs):
        for name, value in tensors:
            ranks[name] = value.ndim
            seen.setdefault(name, []).append(value.flat[drawn.integers(value.size, size=SAMPLED)])
    together, found = of_one_scale(graph, JOINED, MOVED, tail), dict[tuple[str, ...], tuple[float, float]]()
    ranges: Ranges = {}
    for name, rank in ranks.items():
        names = tuple(other for other in together.get(name, (name,)) if other in seen)
        if names not in found:
            found[names] = _least_error(np.concatenate([part for other in names for part in seen[other]]))
        ranges[name] = range_entry(*found[names], (1,) * rank)
    return ranges


def _least_error(values: NDArray[Any]) -> tuple[float, float]:
    lowest, highest = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    shares = np.linspace(0.3, 1, 29)
    lows = [lowest * share for share in shares[::2]] if lowest < 0 else [0.0]
    return min(((low, highest * share) for low in lows for share in shares), key=lambda each: _noise(values, *each))


def _noise(values: NDArray[Any], low: float, high: float) -> float:
    scale = max(high - low, 1e-9) / 255
    zero = np.round(-128 - low / scale)
    rounded = (np.clip(np.round(values / scale) + zero, -128, 127) - zero) * scale
    return float(np.square(rounded - values).mean())


Rewrite = Callable[[nn.Module, Tensor], nn.Module]
RangeRule = Callable[..., Ranges]


@dataclass(frozen=True)
class Method:
    """A name, what is done to the network one after the other, and what tells ranges (None: the product's rule)."""

    name: str
    rewrites: Sequence[Rewrite] = ()
    ranges: RangeRule | None = None
