"""The names that a setting may have, where what they name is heavy to load; tests hold them to the registries."""

from __future__ import annotations

import re

from amc_hw.errors import UsageError, unknown_name

STRATEGIES = ("auto", "ddpg", "ddpg-multi", "greedy", "knapsack", "random", "uniform")
"""See `amc_hw.search.strategies`."""
AGENT_STRATEGY = "ddpg-multi"
"""The strategy that can begin with a trained agent."""
REWARDS = ("resource", "accuracy_guaranteed")
"""See `amc_hw.search.rewards`."""
IMPORTANCES = ("reconstruction", "magnitude", "taylor")
"""See `amc_hw.pruning.importance`."""
EXPORTS = ("tflite", "onnx", "pte", "aten", "pt2", "torch")
"""What a run's network can be written as: the formats of `amc_hw.formats.registry`, and a program of torch.export, that
runs where amc-hw is not installed (``torch`` is its earlier name)."""


def require_compute_name(name: str | None) -> None:
    """Raise UsageError where this is no name of a place to compute; None is the best one there is."""
    if name is not None and not re.fullmatch(r"cpu|cuda(:[0-9]+)?", name):
        raise UsageError(f"compute= takes cpu, cuda or cuda:1, not '{name}'.")


def require_export_name(name: str) -> None:
    """Raise UsageError where a run's network cannot be written as this."""
    if name not in EXPORTS:
        raise unknown_name("format", name, EXPORTS, "format")


def require_agent_strategy(name: str) -> None:
    """Raise UsageError where a strategy cannot begin with a trained agent."""
    if name != AGENT_STRATEGY:
        raise UsageError(f"the strategy '{name}' takes no agent; leave agent= out, or add strategy={AGENT_STRATEGY}.")


def listed(names: tuple[str, ...]) -> str:
    """Return names as a sentence has them: a, b or c."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
