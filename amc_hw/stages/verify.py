"""The device has the last word: the best policies are exported and measured, and what is over budget is repaired."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from amc_hw.benchmark import Protocol, Timing, benchmark
from amc_hw.devices.base import Device
from amc_hw.errors import BudgetError
from amc_hw.export.formats import export
from amc_hw.latency.cost import Cost
from amc_hw.policy import Policy
from amc_hw.stages.deployed import ORIGINAL, example_for, exported
from amc_hw.stages.search import Candidate, Search
from amc_hw.stages.subject import Subject

Progress = Callable[[int, int, str], None]

QUICK = Protocol(warmup=30, runs=100, repeats=3)
CANDIDATES = 3
"""Searched policies that are measured before one is made smaller."""
REPAIRS = 6
HEADROOM = 0.995
"""What is measured here is aimed this much under the target, so that the final benchmark finds it there, too."""


@dataclass(frozen=True)
class Verified:
    """The chosen policy with its reconstructed network, and everything that was measured on the way."""

    model: nn.Module
    chosen: Candidate
    candidates: list[Candidate]


def verify(
    run: Path,
    subject: Subject,
    search: Search,
    device: Device,
    score: Callable[[nn.Module], float],
    progress: Progress,
) -> Verified:
    """Choose the best policy that keeps its budget on the device.

    Policies are tried from the best score down. Each measurement tells how far the table is off for this
    network; policies that would then be over the budget are passed over. If the best few do not fit, the best
    one is made smaller until it does.

    Args:
        run: the run folder; the original's exported file is kept there.
        subject: the network.
        search: the finished search.
        device: where to measure.
        score: accuracy of a pruned network on the search split.
        progress: called with (done, total, text).

    Raises:
        BudgetError: not even the smallest policies keep the budget on the device.
    """
    export_original(run, subject, device, progress)
    latency, limited = search.costs.latency_ms, search.budget.metric == "latency_ms"
    target = search.budget.target(search.cost(subject.network.original))
    candidates: list[Candidate] = []
    off = 1.0  # measured share of the budget over the predicted one, as far as known
    tried: list[Policy] = []
    for attempt in range(CANDIDATES + REPAIRS):
        fits = target / off * (HEADROOM if limited and attempt else 1.0)
        policy, repaired = next_policy(search, subject.choices, tried, fits, attempt < CANDIDATES)
        tried.append(policy)
        progress(attempt, CANDIDATES + REPAIRS, f"measuring candidate {attempt + 1}")
        model = search.pruner.pruned(policy, thorough=True)
        timings = measure(run, subject, model, device)
        original_ms, measured_ms = timings["original"].latency_ms, timings["candidate"].latency_ms
        known = {tuple(e.policy.items()): e.accuracy for e in search.study.episodes}
        accuracy = known.get(tuple(policy.items()))
        chosen = Candidate(
            channels=dict(policy),
            score=score(model) if accuracy is None else accuracy,
            predicted_ms=latency(policy),
            measured_ms=measured_ms,
            original_ms=original_ms,
            repaired=repaired,
        )
        candidates.append(chosen)
        if not limited:
            return Verified(model, chosen, candidates)
        allowed = search.budget.target(original_ms) if search.budget.ratio else target
        if measured_ms <= allowed:
            return Verified(model, chosen, candidates)
        off = max(off, (measured_ms / allowed) / (search.cost(policy) / target))
    raise BudgetError(
        f"no policy kept the budget on the device: {candidates[-1].measured_ms:.4g} ms were measured where "
        f"{allowed:.4g} ms are allowed; the machine may be busy: run the same command again when it is quiet."
    )


def export_original(run: Path, subject: Subject, device: Device, progress: Progress) -> None:
    """Keep the original's exported file in the run folder."""
    file = exported(run, ORIGINAL, device)
    if not file.exists():
        progress(0, 1, "exporting the original")
        export(subject.model, example_for(device, subject), file)


def measure(run: Path, subject: Subject, model: nn.Module, device: Device) -> dict[str, Timing]:
    """Export a pruned network and time it beside the original."""
    file = exported(run, "candidate", device)
    export(model, example_for(device, subject), file)
    try:
        return benchmark(device, {"original": exported(run, ORIGINAL, device), "candidate": file}, QUICK, _silent)
    finally:
        file.unlink()


def _silent(done: int, total: int, text: str) -> None:
    """Report nothing."""


def next_policy(
    search: Search, choices: dict[str, tuple[int, ...]], tried: list[Policy], limit: float, may_pass_over: bool
) -> tuple[Policy, bool]:
    """Return the best policy of the search that is predicted to fit, or the best one made smaller."""
    if may_pass_over:
        for episode in search.study.top(len(search.study.episodes)):
            if episode.policy not in tried and search.cost(episode.policy) <= limit:
                return episode.policy, False
    return repair(search.study.best.policy, search.cost, choices, limit), True


def repair(policy: Policy, cost: Cost, choices: dict[str, tuple[int, ...]], limit: float) -> dict[str, int]:
    """Make a policy smaller until it costs at most ``limit``.

    Each step takes one notch from the group that gives the most for the smallest share of its channels (HAQ,
    arXiv:1811.08886, section 3.2, lowers layer by layer until the budget is met).

    Raises:
        BudgetError: the smallest channel counts are over the limit.
    """
    smaller = dict(policy)
    while cost(smaller) > limit:
        best, most = None, -math.inf
        for group, counts in choices.items():
            position = counts.index(smaller[group])
            if position == 0:
                continue
            next_count = counts[position - 1]
            saved = cost(smaller) - cost({**smaller, group: next_count})
            gain = saved / (1 - next_count / smaller[group])
            if gain > most:
                best, most = (group, next_count), gain
        if best is None:
            raise BudgetError(f"even the smallest channel counts cost {cost(smaller):.4g}, over {limit:.4g}.")
        smaller[best[0]] = best[1]
    return smaller
