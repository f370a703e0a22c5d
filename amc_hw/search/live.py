"""What is seen of a search while it runs: its best policy, the rewards so far, what is kept of every group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amc_hw.budget.cost import Cost, format_cost
from amc_hw.policy import Policy
from amc_hw.search.study import LEAST_REWARD, StudyResult

LEVELS = "▁▂▃▄▅▆▇█"
CURVE = 24
"""Characters of the curve of rewards."""


def describe(study: StudyResult, cost: Cost, original: Policy, scored: str = "accuracy") -> str:
    """Return the lines that stand beside the progress bar.

    Args:
        study: the episodes so far; each character of the curve is the best reward of its share of them.
        cost: the budget's.
        original: the original's channels.
        scored: what the scores are called.
    """
    best, rewards = study.best, [episode.reward for episode in study.episodes]
    curve = [max(part) for part in np.array_split(rewards, min(CURVE, len(rewards)))]
    low = min((reward for reward in curve if reward > LEAST_REWARD), default=LEAST_REWARD)
    kept = [best.channels[group] / channels for group, channels in original.items()]
    return (
        f"best reward {best.reward:.4f}, {scored} {best.accuracy:.2%}, {format_cost(cost.metric, best.cost)}\n"
        f"rewards {sparks(curve, low, max(curve))}  kept of every group {sparks(kept, 0.0, 1.0)}"
    )


def sparks(values: Sequence[float], low: float, high: float) -> str:
    """Draw values from ``low`` to ``high`` as one character each; what is outside is drawn at the edge."""
    span = (high - low) or 1.0
    places = [(min(max(value, low), high) - low) / span for value in values]
    return "".join(LEVELS[min(len(LEVELS) - 1, int(place * len(LEVELS)))] for place in places)
