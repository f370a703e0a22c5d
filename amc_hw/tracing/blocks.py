"""Residual blocks that can be left out: what they add is removed, and what enters them goes on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.hooks import RemovableHandle

from amc_hw.tracing.counted import count_macs
from amc_hw.tracing.network import Block, Network
from amc_hw.tracing.same import computes_the_same, random_like


def leave_out(model: nn.Module, names: Iterable[str]) -> None:
    """Replace modules of a network by the identity, in place."""
    for name in names:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, nn.Identity())


def find_blocks(model: nn.Module, example_input: Any, network: Network, images: int) -> list[Block]:
    """Return the blocks that can be left out, in network order, each proven by leaving it out.

    A block is the innermost module that is called once with one tensor and, with all its parameters zero, returns
    it: in ``x + f(x)`` nothing is left of f. It must hold a channel group whole, because a policy leaves it out with
    that group, and no weights that are used elsewhere; the network must run without it, with outputs of the same
    shapes, and without the multiply-accumulates of its layers and products, which are all that it does.
    They are held against their parameters being zero: what is changed in place behind a block is the block's own
    result, and without it what came in. All are tried at once, then every other one and those between, because a policy
    leaves out some; only where that fails each is tried alone and with those before it.

    Args:
        model: a copy in evaluation mode; it is not changed.
        example_input: what it takes.
        network: its trace, without blocks.
        images: in ``example_input``.
    """
    random_input = random_like(example_input)  # zeros would hide what a block does
    inputs = _inputs(model, random_input)
    shapes, macs = _run(model, example_input)

    def can_go(blocks: Sequence[Block]) -> bool:
        names = [block.name for block in blocks]
        smaller = copy.deepcopy(model)
        leave_out(smaller, names)
        try:
            same, left = _run(smaller, example_input)
        except Exception:  # whatever a forward raises that looks into a block
            return False
        parts = [part for part in network.parts if any(block.holds(part.name) for block in blocks)]
        own = images * sum(part.macs(network.original) for part in parts)
        return same == shapes and macs - left == own and _are_left_out_alike(model, smaller, names, random_input)

    possible: list[Block] = []
    for name in sorted(inputs, key=lambda name: -name.count(".")):
        block = Block(name, "", ())
        inside = [group.name for group in network.groups if all(block.holds(member.module) for member in group.members)]
        if inside and not _shares_weights(model, name) and _only_adds(model.get_submodule(name), inputs[name]):
            possible.append(Block(name, inside[0], tuple(inside)))
    found = _innermost(possible)
    if not all(can_go(some) for some in (found, found[::2], found[1::2]) if some):
        found = []
        for block in possible:
            inner = any(block.holds(other.name) for other in found)
            if not inner and can_go([block]) and can_go([*found, block]):
                found.append(block)
    order = list(network.original)
    return sorted(found, key=lambda block: order.index(block.group))


def _innermost(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks that hold no other."""
    return [each for each in blocks if not any(each.holds(other.name) for other in blocks if other is not each)]


def _inputs(model: nn.Module, example_input: Any) -> dict[str, Tensor]:
    """Return the inputs of modules with parts that are called once, with one tensor, and return one of its shape."""
    calls: dict[str, list[Tensor | None]] = {}

    def before(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, object]) -> None:
            alone = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
            calls.setdefault(name, []).append(args[0].clone() if alone else None)

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, output: Any) -> None:
            x = calls[name][-1]
            if x is not None and not (isinstance(output, Tensor) and output.shape == x.shape):
                calls[name][-1] = None

        return hook

    hooks: list[RemovableHandle] = []
    for name, module in model.named_modules():
        if name and next(module.children(), None) is not None:
            hooks.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
            hooks.append(module.register_forward_hook(after(name)))
    try:
        _run(model, example_input)
    finally:
        for handle in hooks:
            handle.remove()
    return {name: x for name, (x, *more) in calls.items() if x is not None and not more}


def _only_adds(block: nn.Module, x: Tensor) -> bool:
    """Tell whether a block returns what it takes where all its parameters are zero."""
    empty = copy.deepcopy(block)
    _empty(empty)
    with torch.no_grad():
        return bool(x.any()) and torch.equal(empty(x.clone()), x)


def _are_left_out_alike(model: nn.Module, smaller: nn.Module, names: Iterable[str], example_input: Any) -> bool:
    """Tell whether a network without blocks computes what it does where all their parameters are zero."""
    empty = copy.deepcopy(model)
    for name in names:
        _empty(empty.get_submodule(name))
    return computes_the_same(empty, smaller, example_input)


@torch.no_grad()
def _empty(block: nn.Module) -> None:
    tensors = [*block.parameters(), *(b for name, b in block.named_buffers() if name.endswith("running_mean"))]
    for tensor in tensors:
        tensor.zero_()


def _shares_weights(model: nn.Module, name: str) -> bool:
    """Tell whether a block's weights are used outside of it, too."""
    own = {id(parameter) for parameter in model.get_submodule(name).parameters()}
    others = (p for key, p in model.named_parameters(remove_duplicate=False) if not key.startswith(f"{name}."))
    return any(id(parameter) in own for parameter in others)


def _run(model: nn.Module, example_input: Any) -> tuple[list[torch.Size], int]:
    """Return the shapes of the outputs and the multiply-accumulates."""
    output, macs = count_macs(model, example_input)
    return [leaf.shape for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)], macs
