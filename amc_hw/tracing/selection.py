"""Which channel groups a user wants pruned: shell-style patterns on the names of layers."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from amc_hw.errors import UsageError
from amc_hw.tracing.network import ChannelGroup


def left_alone(
    groups: Sequence[ChannelGroup], layers: Sequence[str], exclude: Sequence[str], include: Sequence[str]
) -> dict[str, str]:
    """Return the groups that are not to be pruned, with the reason.

    A pattern (`fnmatch`; ``*`` also spans dots) means the layers whose name it matches, and all layers in a block
    whose name it matches. A group is left alone if any of the layers that make its channels is excluded, or if there
    are patterns to include and none of these layers is.

    Args:
        groups: the channel groups.
        layers: names of all layers of the network.
        exclude: patterns of layers whose channels all stay.
        include: patterns of the only layers that may lose channels; without any, all may.

    Raises:
        UsageError: a pattern that matches no layer.
    """
    for option, patterns in (("exclude", exclude), ("include", include)):
        for pattern in patterns:
            if not any(_means(pattern, layer) for layer in layers):
                raise UsageError(f"{option}={pattern} matches no layer; {_nearest(pattern, layers)}.")
    reasons = {}
    for group in groups:
        makers = {member.module for member in group.members if member.side == "out"} & set(layers)
        excluded = [pattern for pattern in exclude if any(_means(pattern, maker) for maker in makers)]
        included = any(_means(pattern, maker) for pattern in include for maker in makers)
        if excluded:
            reasons[group.name] = f"excluded by {excluded[0]}"
        elif include and not included:
            reasons[group.name] = f"not among those to include: {', '.join(include)}"
    return reasons


def matches(layer: str, patterns: Iterable[str]) -> bool:
    """Tell whether any of the patterns means a layer."""
    return any(_means(pattern, layer) for pattern in patterns)


def _means(pattern: str, layer: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in _with_blocks(layer))


def _with_blocks(layer: str) -> list[str]:
    """Return the names of a layer and of the blocks around it: a, a.b, a.b.c."""
    return list(itertools.accumulate(layer.split("."), "{}.{}".format))


def _nearest(pattern: str, layers: Iterable[str]) -> str:
    names = list(dict.fromkeys(name for layer in layers for name in _with_blocks(layer)))
    inner = {part: f"'*.{part}'" for name in names for part in name.split(".")[1:] if not part.isdigit()}
    known = inner | {name: name for name in names}
    near = [known[each] for each in difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)]
    if near:
        return f"the nearest names are {', '.join(near)}"
    return f"the network consists of {', '.join(name for name in names if '.' not in name)}"
