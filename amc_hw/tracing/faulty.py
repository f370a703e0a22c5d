"""Which of many channel groups are at fault, found by halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amc_hw.tracing.network import ChannelGroup


def find_faulty(
    groups: Sequence[ChannelGroup], fault: Callable[[Sequence[ChannelGroup]], str | None]
) -> dict[str, str]:
    """Return the groups that are at fault alone, with what is wrong with each.

    Args:
        groups: among which they are.
        fault: what is wrong with some groups together, or None.
    """
    reason = fault(groups) if groups else None
    if reason is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: reason}
    half = len(groups) // 2
    return find_faulty(groups[:half], fault) | find_faulty(groups[half:], fault)
