"""A network as its integer file will compute: weights and activations are rounded to the grids that the file will have.

Weights are rounded by output channel, symmetrically, as they are with the batch norm behind them folded in; activations
by tensor, between the smallest and the largest value seen (Jacob et al. 2018, arXiv:1712.05877, sections 2 and 3). Sums
inside of a layer stay exact, as the runtime's 32-bit ones do. Gradients go through the rounding as if it were not
there, but for what is cut off.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_unflatten

from amc_hw.errors import UnsupportedModelError
from amc_hw.policy import Io, Precision
from amc_hw.pruning.contexts import find_contexts
from amc_hw.quantize.ranges import range_of
from amc_hw.quantize.tape import Calls, record
from amc_hw.tracing.inputs import in_order, is_float, moved, parts, taken, tensors_of

BITS: dict[Precision, int] = {"int8": 8, "int16x8": 16}
"""Of the activations of the precisions that can be simulated."""
WEIGHT_MOST = 127
"""Weights are -127 ... 127 times their channel's scale."""
BATCH = 50
_SIGMOIDS = frozenset({"sigmoid", "softmax"})
"""Their results have a fixed grid, 1/256 for each of 256 steps."""


@dataclass(frozen=True)
class Grid:
    """The values that an activation can have: (q - zero) x scale, for whole q from least to most."""

    scale: float
    zero: int
    least: int
    most: int

    @staticmethod
    def between(low: float, high: float, bits: int = 8) -> Grid:
        """Return the grid of a range, which 0 belongs to; with more than eight bits it is symmetric."""
        low, high, most = min(low, 0.0), max(high, 0.0), 2 ** (bits - 1) - 1
        if bits > 8:
            return Grid(max(-low, high, 1e-9) / most, 0, -most, most)
        scale = max(high - low, 1e-9) / (2**bits - 1)
        return Grid(scale, round(-most - 1 - low / scale), -most - 1, most)

    def __call__(self, x: Tensor) -> Tensor:
        """Round values to the grid, in float32 at least: bfloat16 has no more steps than a grid of 8 bits."""
        low, high = ((end - self.zero) * self.scale for end in (self.least, self.most))
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return cast(Tensor, _RoundedSteps.apply(F.hardtanh(x, low, high), self.scale))


class _RoundedSteps(torch.autograd.Function):
    """Rounds to whole steps, with gradients as if it did not: a tenth of the time of torch's fake quantization."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: float) -> Tensor:
        """Return the nearest whole multiples of a step."""
        return x.mul(1 / step).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Hand the gradient on."""
        return gradients[0], None


def rounded_weight(weight: Tensor, norm: Any = None) -> Tensor:
    """Round a weight (outputs, ...) to 255 values of each output channel, the largest of which is kept.

    Args:
        weight: of a convolution or a linear layer.
        norm: the batch norm that is folded into it, with running statistics.
    """
    factor = torch.ones_like(weight[:, :1].flatten(1)[:, 0])
    if norm is not None:
        factor = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight.detach())
        factor = torch.where(factor.abs() > 1e-12, factor, 1.0)
    factor = factor.view(-1, *[1] * (weight.dim() - 1)).to(weight.dtype)
    scale = (weight.detach() * factor).flatten(1).abs().amax(1).clamp_min(1e-9).float() / WEIGHT_MOST
    zero = torch.zeros(len(scale), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight * factor, scale, zero, 0, -WEIGHT_MOST, WEIGHT_MOST) / factor


class Simulated(nn.Module):
    """Computes what a network's integer file computes, but for the order of sums.

    Ranges of activations are those of the network as it is when this is put into evaluation mode. While the network
    learns, batch norms normalise by the batch's statistics, and weights are rounded by the scales that the running ones
    give them (Krishnamoorthi 2018, arXiv:1806.08342, section 3.2.2).

    Args:
        model: the network; its parameters are trained where this one is.
        images: training images (N, C, H, W), or other inputs (`amc_hw.tracing.inputs`), that tell the ranges.
        precision: a key of `BITS`.
        io: what the file takes and gives.

    Raises:
        UnsupportedModelError: the network takes another way for other images.
    """

    def __init__(self, model: nn.Module, images: Any, precision: Precision = "int8", io: Io = "float32") -> None:
        super().__init__()
        self.model = model
        self._images = images
        self._bits = BITS[precision]
        modules, few = dict(model.eval().named_modules()), taken(images, slice(2))
        # Modules, and not what identifies their weights: a copy of this one has copies of them.
        self._norms = [
            (modules[name], context.norm_of(modules))
            for name, context in find_contexts(model, few).items()
            if context.norm is not None and context.is_formula
        ]
        tape = record(model, few)
        self._names = [call.name for call in tape.calls]
        self._calls: list[tuple[int | None, str]] = [*enumerate(self._names)]
        self._learning_calls = _calls_while_learning(model, few, self._names)
        self._scale_of = tape.rounded(io) | tape.rounded_inputs(io)
        self._grids: Mapping[int, Grid] = {}
        self._weights: dict[int, tuple[Tensor, Tensor]] = {}
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the network gives for images (N, C, H, W), or for other inputs as its author hands them over."""
        given = in_order(args, kwargs, self._images)
        rounded = _each_float(given, self._rounded_input)
        with Calls(self._rounded, self._learning_weight if torch.is_grad_enabled() else self._kept_weight):
            return self.model(tree_unflatten(rounded, tree_flatten(self._images)[1]))

    def train(self, mode: bool = True) -> Simulated:
        """Switch the mode; to evaluation with new ranges."""
        super().train(mode)
        self._weights = {}
        if not mode:
            fixed = {number: Grid(1 / 256, -128, -128, 127) for number, n in enumerate(self._names) if n in _SIGMOIDS}
            found = {number: Grid.between(*limits, self._bits) for number, limits in self._ranges().items()}
            self._grids = found | (fixed if self._bits == 8 else {})
        return self

    def _rounded_input(self, number: int, each: Tensor) -> Tensor:
        return self._grids[self._scale_of[number]](each) if number in self._scale_of else each

    def _rounded(self, number: int, name: str, result: Tensor) -> Tensor:
        calls = self._learning_calls if self.training else self._calls
        place, known = calls[number] if number < len(calls) else (None, "")
        if known != name:
            raise UnsupportedModelError(
                "the network takes another way for other images or at random, so int8 cannot be simulated; use "
                "precision=fp16 or int8-dynamic, which are fine-tuned in float32."
            )
        source = None if place is None else self._scale_of.get(place)
        return result if source is None else self._grids[source](result)

    def _learning_weight(self, weight: Tensor) -> Tensor:
        return rounded_weight(weight, next((norm for layer, norm in self._norms if layer.weight is weight), None))

    def _kept_weight(self, weight: Tensor) -> Tensor:
        if not isinstance(weight, nn.Parameter):  # made anew by every call, so that nothing tells it from another
            return self._learning_weight(weight)
        if id(weight) not in self._weights:
            self._weights[id(weight)] = (weight, self._learning_weight(weight))
        return self._weights[id(weight)][1]

    @torch.no_grad()
    def _ranges(self) -> dict[int, tuple[float, float]]:
        """Return the range of every scale, by its first call; -1 is the input's."""
        found: dict[int, list[Tensor]] = {}

        def see(number: int, _: str, result: Tensor) -> Tensor:
            if number in self._scale_of:
                rows = result.flatten(1) if result.dim() > 1 else result.reshape(1, -1)
                found.setdefault(number, []).append(torch.stack([rows.amin(1), rows.amax(1)]))
            return result

        place = next((parameter.device for parameter in self.model.parameters()), tensors_of(self._images)[0].device)
        for part in parts(moved(self._images, place), BATCH):
            _each_float(tensors_of(part), lambda number, each: see(number, "", each))
            with Calls(see):
                self.model(part)
        limits = {number: torch.cat(seen, 1).float().cpu().numpy() for number, seen in found.items()}
        ranges: dict[int, tuple[float, float]] = {}
        for number, each in limits.items():
            scale, (low, high) = self._scale_of[number], range_of(*np.asarray(each))
            before = ranges.get(scale, (low, high))
            ranges[scale] = (min(low, before[0]), max(high, before[1]))
        return ranges


def _each_float(inputs: list[Tensor], change: Callable[[int, Tensor], Tensor]) -> list[Tensor]:
    """Return inputs, those of floating-point numbers changed; they are counted -1, -2 ... as on a tape."""
    numbers = itertools.count(-1, -1)
    return [change(next(numbers), each) if is_float(each) else each for each in inputs]


def _calls_while_learning(model: nn.Module, inputs: Any, names: list[str]) -> list[tuple[int | None, str]]:
    """Return the calls of a network in training mode: which of those in evaluation mode each is, and its name.

    Some are made while it learns only, such as those that drop a branch of some images; they are not rounded.
    """
    try:
        learning = [call.name for call in record(copy.deepcopy(model).train(), inputs).calls]
    except Exception:  # whatever a forward raises; the trial of a training step tells it
        return [*enumerate(names)]
    places: list[int | None] = [None] * len(learning)
    for block in SequenceMatcher(None, names, learning, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            places[block.b + step] = block.a + step
    return list(zip(places, learning, strict=True))
