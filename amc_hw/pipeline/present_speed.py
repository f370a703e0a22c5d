"""A budget in milliseconds is to hold at the speed that a device has now, not at that of when its table was made."""

from __future__ import annotations

from amc_hw.budget.budget import Budget
from amc_hw.budget.cost import Cost
from amc_hw.runs.speed import Speed


def is_in_ms(budget: Budget | None) -> bool:
    """Tell whether a budget of the latency is in milliseconds; a share does not mind what slows all networks alike."""
    return budget is not None and budget.metric == "latency_ms" and budget.ratio is None


def at_present_speed(latency: Cost, budget: Budget | None, speed: Speed | None) -> Cost:
    """Return a predicted latency as it is at a device's present speed, where a budget is in milliseconds."""
    return latency.times(speed.slower) if speed is not None and is_in_ms(budget) else latency
