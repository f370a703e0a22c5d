"""Uniform pruning: one keep ratio for every group, as large as the measured file lets it be; nothing is searched.

Which channels go, and what least squares make of the others, is as in our runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn
from ways import Bench, Tried, bisected

from amc_hw.pipeline.trained import make_pruner
from amc_hw.policy import Policy


def at_one_ratio(choices: Mapping[str, tuple[int, ...]], pruned: float) -> Policy:
    """Return the policy that leaves a share of every group's channels out, at least; no block goes as a whole.

    A group keeps its largest choice that is not over what is left of it, or the smallest one that it has.
    """
    counts = {group: [each for each in choices[group] if each] for group in choices}
    return {
        group: max((each for each in some if each <= (1 - pruned) * some[-1]), default=some[0])
        for group, some in counts.items()
    }


def by_one_ratio(bench: Bench, budget: float, stem: Path, seed: int) -> nn.Module:
    """Prune until the file is fast enough, and fine-tune.

    What is kept on the way has names that begin with a stem.
    """
    pruner = make_pruner(bench.trained, seed)

    def of(ratio: float) -> nn.Module:
        return pruner.pruned(at_one_ratio(bench.trained.decisions, ratio), thorough=True).cpu()

    tried = Tried(stem.with_name(f"{stem.name}-tried.json"), lambda ratio: bench.used(of(ratio), budget))
    return bench.finetuned(of(bisected(tried)), seed, stem.with_name(f"{stem.name}-state.pt"))
