"""Prove channel groups: cut some of their channels out, and compare with the original in which they are masked.

Every group loses another share, between 0.3 and 0.7: with as many of each, groups that must stay alike would pass.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from amc_hw.tracing.faulty import find_faulty
from amc_hw.tracing.kinds import in_one_group, input_axis, loses_inputs
from amc_hw.tracing.leaves import is_leaf, tensors_in
from amc_hw.tracing.network import ChannelGroup
from amc_hw.tracing.reference import mix_only_kept
from amc_hw.tracing.slicing import cut

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of the effect that the masking has


def failing_groups(model: nn.Module, groups: Sequence[ChannelGroup], example_input: Any) -> dict[str, str]:
    """Return the groups whose cut network differs from the masked one, or does not run, with the reason.

    All groups are tried at once, in single precision, or in double where operators mix channels: what a softmax makes
    of a fault there can be smaller than single precision tells. Only where that fails are they halved, in double
    precision, until those at fault are found.

    Args:
        model: a copy in evaluation mode; it is not changed.
        groups: what is to be proven.
        example_input: the shape of the random input that is used.

    Raises:
        UnsupportedModelError: groups that are right alone are wrong together.
    """
    mixes = any(member.side == "mixed" for group in groups for member in group.members)
    if not groups or (not mixes and Proof(model, example_input, torch.float32).failure(groups) is None):
        return {}
    return find_faulty(groups, Proof(model, example_input, torch.float64).failure)


def masked(model: nn.Module, groups: Sequence[ChannelGroup], kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """Return a copy of the model whose layers read zeros in place of all channels that are not kept.

    Its normalisations take their statistics over the channels that are kept, and its products of activations (of
    queries with keys) are sums over these: that is what a network without the others computes.
    """
    model = copy.deepcopy(model)
    modules = dict(model.named_modules())
    gone_from: dict[int, list[NDArray[np.intp]]] = {}
    for group in groups:
        gone = np.setdiff1d(np.arange(group.channels), kept[group.name])
        for member in group.members:
            module = modules.get(member.module)
            if member.side == "mixed" and len(gone):
                gone_from.setdefault(member.axis, []).append(member.positions[gone].ravel())
            if member.side == "in" and module is None:
                _mask(model.get_parameter(member.module), member.axis, member.positions[gone].ravel())
            if member.side == "in" and module is not None and loses_inputs(module):
                _mask(module.weight, input_axis(module), in_one_group(module, member.positions[gone].ravel()))
    if gone_from:
        mix_only_kept(model, {number: np.concatenate(positions) for number, positions in gone_from.items()})
    return model


@torch.no_grad()
def _mask(weight: Tensor, axis: int, positions: NDArray[np.intp]) -> None:
    weight.index_fill_(axis, torch.as_tensor(positions, device=weight.device), 0)


def some_channels(name: str, channels: int) -> list[int]:
    """Return which of its channels a trial keeps of a group, the same every time."""
    random = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    share = 0.3 + 0.4 * float(torch.rand((), generator=random))
    return sorted(torch.randperm(channels, generator=random)[: max(1, round(share * channels))].tolist())


class Proof:
    """A network whose channel groups are tried; the same for all trials.

    Args:
        model: a copy in evaluation mode; it is not changed.
        example_input: the shape of the random input that is used.
        dtype: in which it computes.
    """

    def __init__(self, model: nn.Module, example_input: Any, dtype: torch.dtype) -> None:
        self._generator = torch.Generator().manual_seed(0)
        self._dtype = dtype
        self._model = copy.deepcopy(model).to(dtype)
        self._input = tree_map(self._random, example_input)
        self._shake()
        self._original = self._run(self._model)

    def failure(self, groups: Sequence[ChannelGroup]) -> str | None:
        """Return why these groups cannot be cut together, or None where they can."""
        return self.difference(groups, {group.name: some_channels(group.name, group.channels) for group in groups})

    def difference(self, groups: Sequence[ChannelGroup], kept: Mapping[str, Sequence[int]]) -> str | None:
        """Return what is wrong with a network that keeps some channels of these groups, or None."""
        try:
            wanted = self._run(masked(self._model, groups, kept))
            small = self._run(cut(self._model, groups, kept))
        except Exception as error:  # whatever a forward raises when a shape does not fit
            return f"the network does not run without some of its channels ({' '.join(str(error).split())[:120]})"
        for original, want, have in zip(self._original, wanted, small, strict=True):
            if want.shape != have.shape:
                return "the network's output has another shape without some of its channels"
            effect = (
                (original - want).abs().max() if original.shape == want.shape and want.numel() else want.new_tensor(1.0)
            )
            if want.numel() and not (want - have).abs().max() <= _TOLERANCE[self._dtype] * effect:
                return "the network computes something else without some of its channels than with them masked"
        return None

    def stops_in(self, groups: Sequence[ChannelGroup], kept: Mapping[str, Sequence[int]]) -> list[str]:
        """Return the modules in which a network that was cut so stops, the innermost first; none where it runs."""
        small = cut(self._model, groups, kept)
        inside: list[str] = []
        for name, module in small.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: inside.append(name))
            module.register_forward_hook(lambda *_: inside.pop() and None)
        try:
            self._run(small)
        except Exception:  # whatever a forward raises when a shape does not fit
            return inside[::-1]
        return []

    def _run(self, model: nn.Module) -> list[Tensor]:
        with torch.no_grad():
            return tensors_in(model(self._input))

    def _random(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return torch.rand(value.shape, generator=self._generator, dtype=self._dtype).to(value.device)

    def _shake(self) -> None:
        """Give batch norms the statistics of what enters them, and factors per channel random values.

        Then no channel is trivial, and no activation grows without bounds.
        """

        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            x = tensors_in((args, kwargs))[0].transpose(0, 1).flatten(1)
            scale = x.std(1, unbiased=False).mean() + 1e-3
            for name, value in (
                ("running_mean", x.mean(1) + scale * self._uniform(len(x))),
                ("running_var", scale**2 * (0.5 + self._uniform(len(x)))),
                ("weight", 0.5 + self._uniform(len(x))),
                ("bias", self._uniform(len(x))),
            ):
                tensor = getattr(module, name)
                if tensor is not None:
                    tensor.data.copy_(value)

        inside = {id(p) for m in self._model.modules() if is_leaf(m) for p in m.parameters()}
        for parameter in self._model.parameters():
            if id(parameter) not in inside and parameter.numel() == max(parameter.shape, default=0):
                parameter.data = 0.5 + self._uniform(parameter.numel()).view_as(parameter)
        norms = [m for m in self._model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        hooks = [norm.register_forward_pre_hook(hook, with_kwargs=True) for norm in norms]
        try:
            self._run(self._model)
        finally:
            for handle in hooks:
                handle.remove()

    def _uniform(self, size: int) -> Tensor:
        return torch.rand(size, generator=self._generator, dtype=self._dtype)
