"""What the chosen policy keeps of every channel group, and what that does to the predicted latency."""

from __future__ import annotations

from dataclasses import dataclass

from amc_hw.report.numbers import milliseconds
from amc_hw.runs.records import ChosenPolicy, Group


@dataclass(frozen=True)
class GroupBar:
    """One channel group's row: what was kept, and the bars' lengths in percent."""

    name: str
    original: int
    kept: int
    share: float
    latency: str = ""
    latency_before: float = 0.0
    latency_after: float = 0.0


def group_bars(policy: ChosenPolicy) -> list[GroupBar]:
    """Return one row for every channel group of the chosen policy, in network order."""
    groups = policy.groups or [
        Group(name=name, original=channels, kept=policy.channels.get(name, channels))
        for name, channels in policy.original_channels.items()
        if channels > 0
    ]
    known = [value for group in groups for value in (group.latency_ms_original, group.latency_ms_kept) if value]
    longest = max(known, default=1.0)
    return [_group_bar(group, longest) for group in groups]


def _group_bar(group: Group, longest: float) -> GroupBar:
    before, after = group.latency_ms_original, group.latency_ms_kept
    bar = GroupBar(group.name, group.original, group.kept, min(100.0, 100 * group.kept / group.original))
    if before is None or after is None:
        return bar
    text = f"{milliseconds(before, longest).removesuffix(' ms')} → {milliseconds(after, longest)}"
    return GroupBar(bar.name, bar.original, bar.kept, bar.share, text, 100 * before / longest, 100 * after / longest)
