"""Reconstruction: the weights that remain are fitted so that every layer gives again what it gave in the original.

Least-squares reconstruction of a pruned layer is He et al.'s (arXiv:1707.06168), as AMC uses it (arXiv:1802.03494).
Here it goes further in four ways. The inputs are those of the network as pruned so far, so that a layer corrects the
errors made before it. In a residual network the target is the sum: the layer also corrects the error that the shortcut
brings. Layers that lose no input (the first of a block, the classifier) are fitted, too, where there is time. And what
an activation cuts off is fitted only as far as the activation can tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.pruning.activation import Activation
from amc_hw.pruning.contexts import LayerContext, OperatorCounter, stopped
from amc_hw.pruning.filters import filters, kernel_area, set_filters
from amc_hw.pruning.formulas import Formulas, Operands, take_statistics
from amc_hw.pruning.least_squares import Moments, aimed, factor, given, moments, solve
from amc_hw.pruning.positions import Fitted, PositionSampler
from amc_hw.pruning.statistics import Gram, Targets, holds_bias
from amc_hw.tracing.kinds import in_one_group, inputs_per_group, loses_inputs


@dataclass
class Remains:
    """What remains of one layer.

    Attributes:
        inputs, outputs: positions, None where nothing is lost.
        factors: what the outputs that remain are to be multiplied by, None where by nothing.
    """

    inputs: Tensor | None = None
    outputs: Tensor | None = None
    factors: Tensor | None = None

    def gram(self, layer: Fitted, gram: Gram) -> Tensor:
        """Return the Gram matrix (groups, inputs, inputs) of the inputs that remain, for a layer of the original."""
        if self.inputs is None:
            return gram.matrix
        if not loses_inputs(layer):
            return gram.matrix[self.inputs[:: inputs_per_group(layer)] // inputs_per_group(layer)]
        columns = self.columns(layer)
        return gram.matrix[:, columns][:, :, columns]

    def columns(self, layer: Fitted) -> Tensor:
        """Return which columns of the weights, seen as a matrix, remain: of one group, or of all of them alike."""
        area = kernel_area(layer)
        inputs = torch.arange(inputs_per_group(layer)) if self.inputs is None else in_one_group(layer, self.inputs)
        return (inputs[:, None] * area + torch.arange(area)).flatten()


def fit_to_original(layer: Fitted, gram: Gram, remains: Remains) -> tuple[Tensor, Tensor]:
    """Fit a layer to the inputs of the original: X'Y = G W^T, so that its Gram matrix is all that is needed.

    Args:
        layer: of the original, with one group or with groups that lose channels alike.
        gram: of its inputs.
        remains: which inputs and outputs remain.

    Returns:
        Weights (outputs, inputs x kernel area) and bias (outputs).
    """
    columns = remains.columns(layer)
    weights = filters(layer).detach().double()
    bias = torch.zeros_like(weights[:, 0]) if layer.bias is None else layer.bias.detach().double()
    if remains.outputs is not None:
        weights, bias = weights[remains.outputs], bias[remains.outputs]
    if remains.factors is not None:
        weights, bias = weights * remains.factors[:, None], bias * remains.factors
    weights = weights.reshape(len(gram.matrix), -1, weights.shape[1])
    fitted = solve(remains.gram(layer, gram), gram.matrix[:, columns] @ weights.mT)
    changed = weights @ gram.mean[:, :, None] - fitted @ gram.mean[:, columns, None]
    return fitted.flatten(0, 1), bias + changed.flatten()


def write(layer: Fitted, norm: Any, weights: Tensor, bias: Tensor) -> None:
    """Replace a layer's weights and bias; where it has none, the batch norm behind it takes the bias into its mean."""
    set_filters(layer, weights)
    if layer.bias is not None:
        layer.bias.data.copy_(bias.flatten())
    elif norm is not None:
        norm.running_mean.data.sub_(bias.flatten())


class Refit:
    """Fits the layers of a pruned network one after the other, in one forward pass of the calibration images.

    Args:
        contexts: of the original's layers.
        targets: of the original's layers, for the same images, points and seed.
        images: (N, C, H, W).
        points: output positions sampled per image.
        seed: of the positions.
        prior: how many rows per unknown of the original the weights before the fit count for.
    """

    def __init__(
        self,
        contexts: Mapping[str, LayerContext],
        targets: Mapping[str, Targets],
        images: Tensor,
        points: int,
        seed: int,
        prior: float,
    ) -> None:
        self._contexts = contexts
        self._targets = targets
        self._images = images
        self._points = points
        self._seed = seed
        self._prior = prior

    def run(
        self,
        small: nn.Module,
        names: Sequence[str],
        remains: Mapping[str, Remains],
        grams: Mapping[str, Tensor],
        partners: Mapping[str, int | None] | None = None,
        norms: Collection[str] = (),
    ) -> None:
        """Fit layers in place; from their present weights they move only as far as the rows can tell.

        Args:
            small: the pruned network, in evaluation mode.
            names: the layers to be fitted.
            remains: what remains of them.
            grams: the Gram matrices of their remaining inputs in the original.
            partners: numbers of the operators that compute the other sides of the layers' sums, where the network
                lacks blocks; without, they are the original's.
            norms: batch norms that take the statistics of what the layers before them give by then.
        """
        modules: Mapping[str, Any] = dict(small.named_modules())
        layers: dict[str, Fitted] = {name: modules[name] for name in names}
        if partners is None:
            partners = {name: self._contexts[name].partner for name in names}
        counter = OperatorCounter(partners[name] for name in names)

        def fit(name: str, called: Operands) -> None:
            with stopped():
                partner = counter.used(partners[name])
                norm, layer = self._contexts[name].norm_of(modules), layers[name]
                rows = PositionSampler(self._points, self._seed, name)
                beside = None if partner is None else rows.outputs(layer, partner)
                target = self._target(name, norm, beside, remains[name])
                activation = self._activation(name, norm, beside, target)
                x = rows.inputs(called)
                weights, bias = self._solve(name, layer, x, target, activation, grams[name])
                write(layer, norm, weights, bias)

        def estimate(name: str, x: Tensor) -> None:
            if name in norms:
                with stopped():
                    take_statistics(modules[name], x)

        seen = {**layers, **{name: modules[name] for name in norms}}
        with torch.no_grad(), counter, Formulas(seen, before=fit, norm_before=estimate):
            small(self._images)

    def _target(self, name: str, norm: Any, beside: Tensor | None, remains: Remains) -> Tensor:
        """Return what the layer should give: the original's output, and what the other side of its sum lacks."""
        targets = self._targets[name]
        target = _columns(targets.output, remains.outputs)
        if remains.factors is not None:
            target = target * remains.factors.to(target)
        if beside is None or targets.partner is None:
            return target
        missing = _columns(targets.partner, remains.outputs) - beside
        return target + missing / _scale(norm, missing)

    def _activation(self, name: str, norm: Any, beside: Tensor | None, target: Tensor) -> Activation | None:
        """Return how the activation behind a layer and its sum sees the layer's results, if there is one."""
        context = self._contexts[name]
        if context.linear_range is None or (context.partner is not None and beside is None):
            # What else the activation takes is not known.
            return None
        scale, shift = _scale(norm, target), torch.zeros_like(target[0])
        if norm is not None:
            shift = (0 if norm.bias is None else norm.bias) - norm.running_mean * scale
        return Activation(scale, shift if beside is None else shift + beside, context.linear_range)

    def _solve(
        self, name: str, layer: Fitted, x: Tensor, target: Tensor, activation: Activation | None, gram: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fit a layer to its target; then to what its activation takes for the target, nearest to the first fit."""
        found = moments(x, target, holds_bias(layer, self._contexts[name]))
        groups, inputs, _ = found.gram.shape
        before = filters(layer).detach().double().reshape(groups, -1, inputs)
        lower = factor(found.gram + self._prior * inputs / found.rows * gram)
        weights, bias = _fit(before, found, lower)
        if activation is None:
            return weights, bias
        results = given(x, weights.to(x.dtype)) + bias.flatten().to(x.dtype)
        return _fit(before, aimed(found, x, activation.nearest(results, target)), lower)


def _fit(before: Tensor, found: Moments, lower: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (groups, targets, inputs) and bias (groups, targets), from weights before and a factor."""
    error = found.cross - found.gram @ before.transpose(1, 2)
    weights = before + torch.cholesky_solve(error, lower).transpose(1, 2)
    return weights, found.mean_y - (weights @ found.mean_x[:, :, None]).squeeze(2)


def _columns(rows: Tensor, chosen: Tensor | None) -> Tensor:
    return rows if chosen is None else rows.index_select(1, chosen.to(rows.device))


def _scale(norm: Any, like: Tensor) -> Tensor:
    """Return what a batch norm multiplies each channel with; infinity, where that is next to nothing."""
    if norm is None:
        return torch.ones_like(like[0])
    scale = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight)
    return torch.where(scale.abs() > 1e-3 * scale.abs().max(), scale, torch.inf)
