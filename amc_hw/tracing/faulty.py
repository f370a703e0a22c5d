"""Which of many channel groups are at fault, found by halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from amc_hw.errors import UnsupportedModelError
from amc_hw.tracing.network import ChannelGroup

Fault: TypeAlias = Callable[[Sequence[ChannelGroup]], str | None]
"""What is wrong with some groups together, or None."""


def find_faulty(groups: Sequence[ChannelGroup], fault: Fault) -> dict[str, str]:
    """Return the groups that are at fault alone, with what is wrong with each; all others are right together.

    Raises:
        UnsupportedModelError: they are not.
    """
    whole = fault(groups) if groups else None
    if whole is None:
        return {}
    faulty = _alone(groups, fault, whole)
    others = [group for group in groups if group.name not in faulty]
    if not faulty or (others and fault(others) is not None):
        raise UnsupportedModelError(
            f"the channels of '{others[0].name}' and later layers cannot be pruned together; leave it out with "
            f"exclude={others[0].name.partition('#')[0]}."
        )
    return faulty


def _alone(groups: Sequence[ChannelGroup], fault: Fault, reason: str) -> dict[str, str]:
    if len(groups) == 1:
        return {groups[0].name: reason}
    middle = len(groups) // 2
    halves = [(half, fault(half)) for half in (groups[:middle], groups[middle:])]
    return {name: text for half, why in halves if why for name, text in _alone(half, fault, why).items()}
