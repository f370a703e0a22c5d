"""Reconstruction: the weights that remain are fitted so that every layer gives again what it gave in the original.

Least-squares reconstruction of a pruned layer is He et al. (arXiv:1707.06168) as AMC uses it (arXiv:1802.03494, section 3.3).
Here it goes further in three ways. The inputs are those of the network as pruned so far, so that a layer corrects
the errors before it. In a residual network the target is the sum: the layer also corrects the error that the shortcut brings.
And layers that lose no input (the first of a block, the classifier) are fitted, too, where there is time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.pruning.least_squares import moments, solve, with_ridge
from amc_hw.pruning.patches import Fitted, Patches
from amc_hw.pruning.sites import OperatorClock, Site
from amc_hw.pruning.statistics import Gram, Targets, hooked


def fit_to_original(layer: Fitted, gram: Gram, columns: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a layer with the inputs of the original: X'Y = G W^T, so that its Gram matrix is all that is needed.

    Args:
        layer: of the original, with one group.
        gram: of its inputs.
        columns: the inputs that remain.
        outputs: the outputs that remain.

    Returns:
        Weights (outputs, inputs) and bias (outputs).
    """
    weights = layer.weight.detach().double().flatten(1)[outputs]
    inner = with_ridge(gram.matrix[:, columns][:, :, columns])
    fitted = solve(inner, gram.matrix[:, columns] @ weights.T)[0]
    bias = weights @ gram.mean[0] - fitted @ gram.mean[0, columns]
    return fitted, bias if layer.bias is None else bias + layer.bias.detach().double()[outputs]


def write(layer: Fitted, norm: Any, weights: Tensor, bias: Tensor) -> None:
    """Give a layer new weights and a bias; where it can hold none, the batch norm behind it takes it, if there is one."""
    layer.weight.data.copy_(weights.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.data.copy_(bias.flatten())
    elif norm is not None:
        norm.running_mean.data.sub_(bias.flatten())


class Refit:
    """Fits the layers of a pruned network one after the other, in one forward pass of the calibration images.

    Args:
        sites: of the original's layers.
        targets: of the original's layers, for the same images, points and seed.
        images: (N, C, H, W).
        points: output positions sampled per image.
        seed: of the positions.
        prior: see `run`.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        targets: Mapping[str, Targets],
        images: Tensor,
        points: int,
        seed: int,
        prior: float,
    ) -> None:
        self._sites = sites
        self._targets = targets
        self._images = images
        self._points = points
        self._seed = seed
        self._prior = prior

    def run(self, small: nn.Module, names: list[str], outputs: Mapping[str, Tensor], grams: Mapping[str, Tensor]) -> None:
        """Fit layers in place.

        Their present weights are the prior: of them the fit moves away only as far as the rows tell. The prior counts
        as much as ``prior`` rows per unknown of the original.

        Args:
            small: the pruned network, in evaluation mode.
            names: the layers to be fitted.
            outputs: for layers that lost outputs the indices that remain.
            grams: for every layer the Gram matrix (groups, inputs, inputs) of its remaining inputs in the original.
        """
        modules = dict(small.named_modules())
        wanted = {name: self._sites[name].partner for name in names}
        clock = OperatorClock(frozenset(partner for partner in wanted.values() if partner is not None))

        def fit(name: str) -> Any:
            def hook(layer: Any, inputs: tuple[Tensor, ...]) -> None:
                clock.stopped = True
                norm = modules.get(self._sites[name].norm or "")
                partner = None if wanted[name] is None else clock.results.get(wanted[name])
                self._fit(name, layer, norm, inputs[0], partner, outputs.get(name), grams[name])
                clock.stopped = False

            return hook

        hooks = {modules[name]: fit(name) for name in names}
        with torch.no_grad(), hooked(hooks, before=True), clock:
            small(self._images)

    def _fit(
        self, name: str, layer: Fitted, norm: Any, x: Tensor, partner: Tensor | None, kept: Tensor | None, gram: Tensor
    ) -> None:
        patches = Patches(self._points, self._seed, name)
        known = self._targets[name]
        rows = patches.inputs(layer, x)
        kept = torch.arange(known.output.shape[1]) if kept is None else kept
        target = known.output[:, kept]
        if partner is not None and known.partner is not None:
            error = known.partner[:, kept] - patches.outputs(layer, partner)
            target = target + error / _scale(norm, error)
        holds_bias = layer.bias is not None or norm is not None
        found = moments(rows, target, holds_bias)
        groups = len(found.gram)
        before = layer.weight.detach().double().reshape(groups, -1, found.gram.shape[1])
        strength = self._prior * found.gram.shape[1] / found.rows
        left = found.cross - found.gram @ before.transpose(1, 2)
        change = solve(with_ridge(found.gram + strength * gram), left)
        weights = before + change
        write(layer, norm, weights, found.mean_y - (weights @ found.mean_x[:, :, None]).squeeze(2))


def _scale(norm: Any, error: Tensor) -> Tensor:
    """Return what a batch norm multiplies each channel with; infinity, where that is next to nothing."""
    if norm is None:
        return torch.ones(error.shape[1])
    scale = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight)
    return torch.where(scale.abs() > 1e-3 * scale.abs().max(), scale, torch.inf)
