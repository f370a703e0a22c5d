"""From the labels of a forward pass to channel groups, layers and parameter counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from amc_hw.policy import Dimension
from amc_hw.tracing.attributes import Attribute
from amc_hw.tracing.followed import Call, Followed
from amc_hw.tracing.kinds import Convolution, Transposed, Weighted, loses_inputs
from amc_hw.tracing.network import Block, ChannelGroup, Layer, Member, Network, Parameter, Product, Reason, Side, Why
from amc_hw.tracing.places import Places
from amc_hw.tracing.slicing import sliced

_Key = tuple[str, Side, int]  # module, parameter or attribute, side, axis


class Assembly:
    """The channel of every position of every dimension, and the channels that must stay, with their reasons.

    Args:
        followed: what one forward pass told.
    """

    def __init__(self, followed: Followed) -> None:
        self._calls = followed.calls
        self._producers = list(dict.fromkeys(followed.makers))
        self._book_roots = followed.book.roots()
        roots = self._book_roots
        self._reasons = {root: Reason(Why.NETWORK, text) for root, text in followed.book.reasons(roots).items()}
        depthwise = {call.name for call in followed.calls if getattr(call.module, "groups", 1) > 1}
        self._channels: dict[_Key, NDArray[np.int64]] = {}
        for (name, side), labels in followed.sides.items():
            axis = int(side == "in" and name in followed.functional)  # the inputs of a bare weight
            if not (axis and name in depthwise):
                self._channels[name, side, axis] = roots[labels.numpy()]
        for name, labels in followed.bare.items():
            self._add_bare(name, roots[labels.numpy()])
        for attribute, labels in followed.counts.items():
            self._channels[attribute.name, "out", attribute.place] = roots[labels.numpy()]
        noted = followed.noted
        for (name, index), labels in noted.sizes.items():
            if Attribute(name, index) not in followed.counts:
                self._channels[name, "size", index] = roots[labels.numpy()]
        for number, mixed in noted.mixed.items():
            self._channels[mixed.path, "mixed", number] = roots[mixed.labels.numpy()]
        self._queries = [(labels.numpy(), rows) for labels, rows in noted.queries]
        self._products = [(each.path, [roots[labels.numpy()] for labels in each.labels]) for each in noted.products]

    def _add_bare(self, name: str, channels: NDArray[np.int64]) -> None:
        """Add a parameter outside of the layers, if its channels lie along one axis."""
        axes = [axis for axis in range(channels.ndim) if (channels != np.take(channels, [0], axis)).any()]
        if not axes:
            self._channels[name, "out", 0] = channels.reshape(len(channels), -1)[:, 0]
        elif len(axes) == 1:
            first = channels[tuple(slice(None) if axis == axes[0] else 0 for axis in range(channels.ndim))]
            self._channels[name, "out", axes[0]] = first
        else:
            self._cannot(np.unique(channels).tolist(), f"they meet the parameter '{name}' along no single axis")

    def _cannot(self, channels: list[int], text: str) -> None:
        self._keep(channels, Reason(Why.NETWORK, text))

    def _keep(self, channels: list[int], reason: Reason) -> None:
        for channel in channels:
            self._reasons.setdefault(channel, reason)

    def keep(self, name: str, reason: Reason) -> None:
        """Keep a whole group, if it is not kept already: a layer of two groups keeps both with one of them."""
        self._keep(self._split_by_use(self._owners()).get(name, []), reason)

    def tie(self, ties: Sequence[Sequence[str]]) -> None:
        """Make one group of each of several sets: a channel of it is as many of each of these, in their order."""
        owners = self._split_by_use(self._owners())
        one = np.arange(1 + self._book_roots.max(initial=0))
        for names in ties:
            groups = [owners[name] for name in names]
            parts = math.gcd(*map(len, groups))
            for channels in groups:
                one[channels] = np.repeat(groups[0][:: len(groups[0]) // parts], len(channels) // parts)
        self._book_roots = one[self._book_roots]
        self._channels = {key: one[channels] for key, channels in self._channels.items()}
        self._products = [(name, [one[each] for each in shape]) for name, shape in self._products]

    def owning(self, labels: Tensor) -> list[str]:
        """Return the groups that some labels belong to."""
        found = np.unique(self._book_roots[labels.numpy()])
        owners = self._split_by_use(self._owners())
        return [name for name, channels in owners.items() if np.isin(found, channels).any()]

    def forget_sizes(self, names: Collection[str]) -> bool:
        """Let attributes of modules be that follow some groups; tell whether there were any."""
        owners = self._split_by_use(self._owners())
        channels = [channel for name in names for channel in owners.get(name, [])]
        found = [key for key, each in self._channels.items() if key[1] == "size" and np.isin(each, channels).any()]
        for key in found:
            del self._channels[key]
        return bool(found)

    def groups(self) -> list[ChannelGroup]:
        """Return the channel groups; what cannot be a group of equal channels is kept whole."""
        return self._grouped()[0]

    def _grouped(self) -> tuple[list[ChannelGroup], Places]:
        """Return the channel groups, and where their channels are."""
        while True:
            kept = len(self._reasons)
            owners = self._split_by_use(self._owners())
            for channels in owners.values():
                if len(channels) < 2:
                    self._cannot(channels, "all its channels hang together, and none can be removed alone")
            members: dict[str, list[Member]] = {name: [] for name in owners}
            places = Places(owners)
            for (module, side, axis), dimension in self._channels.items():
                for name, positions in places.of(dimension).items():
                    members[name].append(Member(module, side, positions, axis))
            for name, scaled in self._scaled(members, owners):
                members[name].append(scaled)
            if len(self._reasons) == kept:
                groups = [ChannelGroup(name, len(owners[name]), tuple(found)) for name, found in members.items()]
                return groups, places

    def _scaled(self, members: Mapping[str, list[Member]], owners: Mapping[str, list[int]]) -> list[tuple[str, Member]]:
        """Return what is scaled with the share of a group that stays: the queries of attention over its channels."""
        found: dict[tuple[str, str, int], Member] = {}
        for labels, rows in self._queries:
            along = self._book_roots[labels]
            for name in [name for name, channels in owners.items() if np.isin(along, channels).any()]:
                for member in members[name]:
                    if member.side == "out" and member.module in rows:
                        columns = rows[member.module][member.positions].all(0)
                        if columns.any():
                            scaled = Member(member.module, "scaled", member.positions[:, columns], member.axis)
                            found[name, member.module, member.axis] = scaled
        return [(name, member) for (name, *_), member in found.items()]

    def _owners(self) -> dict[str, list[int]]:
        """Return the removable channels by the layer that produces them first; a layer that must keep one keeps all."""
        changed = True
        while changed:
            before = len(self._reasons)
            for name in self._producers:
                channels = np.unique(self._channels[name, "out", 0]).tolist()
                kept = [channel for channel in channels if channel in self._reasons]
                if kept:
                    self._keep(channels, self._reasons[kept[0]])
            changed = len(self._reasons) > before
        owners: dict[str, list[int]] = {}
        seen = set(self._reasons)
        for name in self._producers:
            new = [channel for channel in dict.fromkeys(self._channels[name, "out", 0].tolist()) if channel not in seen]
            seen.update(new)
            if new:
                owners[name] = new
        return owners

    def _split_by_use(self, owners: dict[str, list[int]]) -> dict[str, list[int]]:
        """Split the channels of owners into those that are used alike: equally often in every dimension.

        A channel that is used as no other is stays, and its layer's other channels need not stay with it.
        """
        uses = np.zeros(1 + max((max(channels) for channels in owners.values()), default=0), np.int64)
        factors = np.random.default_rng(0)
        products = (dimension for _, shape in self._products for dimension in shape)
        for dimension in itertools.chain(self._channels.values(), products):
            factor = factors.integers(1 << 62)
            counts = np.bincount(dimension)[: len(uses)]
            uses[: len(counts)] += counts * factor
        found: dict[str, list[int]] = {}
        for name, channels in owners.items():
            alike: dict[int, list[int]] = {}
            for channel in channels:
                alike.setdefault(int(uses[channel]), []).append(channel)
            several = [each for each in alike.values() if len(each) > 1 or len(channels) == 1]
            if not several:
                self._cannot(channels, "each of its channels is used in a way of its own")
            found |= {name if not n else f"{name}#{n + 1}": each for n, each in enumerate(several)}
        return found

    def network(self, model: nn.Module, macs: int, images: int, blocks: Sequence[Block] = ()) -> Network:
        """Return the finished description.

        Args:
            model: the model that was followed.
            macs: multiply-accumulates of one image, of all that the model does.
            images: in the batch that was followed.
            blocks: that can be left out.
        """
        groups, places = self._grouped()
        sizes = {key: _dimension(channels, places) for key, channels in self._channels.items()}
        layers = tuple(
            replace(
                _layer(call, _inputs(call.name, sizes), sizes[call.name, "out", 0], images),
                block=_block_of(call.name, blocks),
            )
            for call in self._calls
        )
        products = tuple(
            Product(name, tuple(_dimension(each, places) for each in shape), images, _block_of(name, blocks))
            for name, shape in self._products
        )
        parameters = dict(model.named_parameters())
        shapes = _shapes(parameters, dict(model.named_modules()), sizes, blocks)
        original = {group.name: group.channels for group in groups}
        return Network(
            groups=tuple(groups),
            layers=layers,
            reasons=self._kept_layers(model),
            parameters=tuple(Parameter(tuple(shape), _block_of(name, blocks)) for name, shape in shapes.items()),
            other_params=sum(p.numel() for name, p in parameters.items() if name not in shapes),
            other_macs=macs
            - sum(layer.macs(original) for layer in layers)
            - sum(product.macs(original) for product in products),
            blocks=tuple(blocks),
            products=products,
        )

    def _kept_layers(self, model: nn.Module) -> dict[str, Reason]:
        """Return why layers keep all their outputs."""
        kept = {}
        for name, module in model.named_modules():
            if not isinstance(module, Weighted):
                continue
            if name not in self._producers:
                unknown = "it is of a kind that is not pruned, or is not called in evaluation mode"
                kept[name] = Reason(Why.NETWORK, unknown)
            elif (channel := int(self._channels[name, "out", 0][0])) in self._reasons:
                kept[name] = self._reasons[channel]
        return kept


def _dimension(channels: NDArray[np.int64], places: Places) -> Dimension:
    found = {name: positions.shape for name, positions in places.of(channels).items()}
    constant = len(channels) - sum(count * width for count, width in found.values())
    return Dimension(constant, tuple(found), tuple(width for _, width in found.values()))


def _inputs(name: str, sizes: Mapping[_Key, Dimension]) -> Dimension:
    """Return the inputs of a layer; of a bare weight of a depthwise convolution, they are its outputs."""
    keys: list[_Key] = [(name, "in", 0), (name, "in", 1), (name, "out", 0)]
    return next(sizes[key] for key in keys if key in sizes)


def _layer(call: Call, c_in: Dimension, c_out: Dimension, images: int) -> Layer:
    module, shape = call.module, call.shape
    if isinstance(module, Convolution):
        over = shape[-len(module.kernel_size) :]
        return Layer(
            name=call.name,
            kind="conv",
            c_in=c_in,
            c_out=c_out,
            kernel=tuple(module.kernel_size),
            stride=tuple(module.stride),
            groups=module.groups,
            depthwise=module.groups > 1 and module.groups == module.in_channels,
            out_h=math.prod(over[:-1]) * max(1, math.prod(shape[: -len(over) - 1]) // images),
            out_w=over[-1],
            inputs_per_group=None if loses_inputs(module) else module.in_channels // module.groups,
            transposed=isinstance(module, Transposed),
        )
    rows = math.prod(shape[:-1]) // images
    return Layer(call.name, "linear", c_in, c_out, (1, 1), (1, 1), 1, False, rows, 1, None)


def _block_of(name: str, blocks: Sequence[Block]) -> str | None:
    return next((block.group for block in blocks if block.holds(name)), None)


def _shapes(
    parameters: Mapping[str, nn.Parameter],
    modules: Mapping[str, nn.Module],
    sizes: Mapping[_Key, Dimension],
    blocks: Sequence[Block],
) -> dict[str, list[Dimension]]:
    """Return the shapes of the parameters that some policy changes or leaves out."""
    shapes = {name: _constant(tensor) for name, tensor in parameters.items() if _block_of(name, blocks)}
    for (name, side, axis), size in sizes.items():
        places = [(name, axis)]
        if name in modules and side in ("out", "in"):
            places = [(f"{name}.{tensor}", along) for tensor, along in sliced(modules[name], side)]
            if side == "in" and loses_inputs(modules[name]):
                size = size.divided(getattr(modules[name], "groups", 1))
        for tensor, along in places:
            if size.groups and tensor in parameters:
                shapes.setdefault(tensor, _constant(parameters[tensor]))[along] = size
    return shapes


def _constant(tensor: Tensor) -> list[Dimension]:
    return [Dimension(length) for length in tensor.shape]
