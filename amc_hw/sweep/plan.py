"""The runs of a sweep: one for every budget and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from amc_hw.budget.budget import parse_budget
from amc_hw.errors import UsageError
from amc_hw.runs.config import METRICS, RunConfig, Settings, make_config
from amc_hw.runs.files import require_room

DIFFERENT = "name different budgets with commas between them, for example latency=0.3x,0.5x,0.7x"


def read_budgets(given: Settings) -> tuple[RunConfig, list[str]]:
    """Return the settings that all runs share, and the budgets of the metric that is swept.

    Args:
        given: settings, of which one budget may be several texts with commas between them; it is the one that is swept.

    Raises:
        UsageError: see `make_config`; or no budget is given, or several have several values.
    """
    texts = {name: given[name].split(",") for name in METRICS if name in given}
    several = [name for name in texts if len(texts[name]) > 1] or list(texts)[:1]
    if len(several) != 1:
        beside = f"; {' and '.join(several)} both have several" if several else ""
        raise UsageError(f"{DIFFERENT}{beside}.")
    budgets = texts.pop(several[0])
    return make_config(
        **{name: value for name, value in given.items() if name not in METRICS},
        metric=METRICS[several[0]],
        budget=budgets[0],
        limits={METRICS[name]: text for name, (text,) in texts.items()},
    ), budgets


def plan_sweep(folder: Path, base: RunConfig, budgets: Sequence[str], seeds: int) -> dict[Path, RunConfig]:
    """Return the folder and the settings of every run.

    Raises:
        UsageError: no budgets, one of them twice, or one that cannot be read.
        RunFolderError: the folder cannot be made or written, see `amc_hw.runs.files.require_room`.
    """
    if not budgets or len(set(budgets)) != len(budgets):
        raise UsageError(f"{DIFFERENT}.")
    require_room(folder)
    for budget in budgets:
        parse_budget(base.metric, budget)
    return {
        folder / f"{budget.strip()}-seed{seed}": base.model_copy(update={"budget": budget, "seed": seed})
        for budget in budgets
        for seed in range(base.seed, base.seed + seeds)
    }


def relatives(plan: Mapping[Path, RunConfig]) -> dict[Path, list[Path]]:
    """Return for every run those that differ from it in their budget alone: the others of its seed."""
    return {
        run: [other for other in plan if other != run and plan[other].seed == config.seed]
        for run, config in plan.items()
    }
