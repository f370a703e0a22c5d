"""The device has the last word: the chosen policy is measured, and made smaller or larger until it fits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from amc_hw.budget.bounds import Limit
from amc_hw.errors import BudgetError, BudgetMissedError, UnsupportedModelError
from amc_hw.pipeline.budget_use import WELL_USED, Place, Use, chosen_and_missed, places_of
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.nearby import Nearby
from amc_hw.pipeline.originals import export_originals
from amc_hw.pipeline.search import Search
from amc_hw.pipeline.timed import measure
from amc_hw.policy import Policy
from amc_hw.profiling.protocol import HEADROOM
from amc_hw.profiling.timing import Timing
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import Candidate, Elsewhere

_LOG = logging.getLogger(__name__)
_Measured: TypeAlias = tuple[Candidate, list[Mapping[str, Timing]]]
"""What is kept of a candidate's measurement, and its timing beside the original's on every device."""

_ELSEWHERE = {"measured": "candidate", "original": "original"}
"""What a record of a further device calls the files that were timed."""

MEASUREMENTS = 9


@dataclass(frozen=True)
class Verified:
    """The chosen policy with its reconstructed network, and everything that was measured on the way."""

    model: nn.Module
    chosen: Candidate
    candidates: list[Candidate]


def verify(job: Job, search: Search, ranked: list[Policy], progress: Progress) -> Verified:
    """Make the best policy keep its latency budget on the device, and use it up.

    Each measurement tells how far the table is off for this network. A policy over the budget is made smaller by
    that much, one well under it larger (the best of a short search, see `Nearby`), until it is within the budget and
    uses 95 % of it, or the channel grid has nothing in between. What the repeats leave in doubt counts against a
    policy, on either side. After a last benchmark that missed the budget (see `Miss`), the policy that missed is
    measured first, and every other is taken to be as much slower at last as that one was. A policy that has no file,
    because rounding leaves nothing of it or the runtime refuses it, gives way to the next best one. Without a latency
    budget one measurement is enough.

    Args:
        job: what is compressed, where to measure; the original's exported file is kept in its run folder.
        search: the finished search.
        ranked: its best policies, the best first.
        progress: is told how far the work is.

    Raises:
        BudgetError: not even the smallest policies keep the budget on the device.
        UnsupportedModelError: none of the best policies has a file.
    """
    export_originals(job.run, job.trained, job.device, progress)
    places, missed = places_of(job, search), chosen_and_missed(job)
    policy, *others = ranked if missed in (None, search.original) else [missed, *ranked]
    nearby = Nearby(job, search)
    candidates: list[Candidate] = []
    best: tuple[Candidate, Use] | None = None
    for attempt in range(MEASUREMENTS):
        progress("measuring candidates", attempt, MEASUREMENTS, f"number {attempt + 1}")
        try:
            chosen, timings = _measured(job, search, policy, ranked, nearby)
        except UnsupportedModelError as error:
            if best is not None:
                break
            policy = _next_best(others, error)
            continue
        candidates.append(chosen)
        if not places:
            return _verified(search, chosen, candidates)
        uses = [each.use(policy, time) for each, time in zip(places, timings, strict=True)]
        use = max(uses, key=lambda each: each.most)
        if use.most <= 1 and (best is None or use.share > best[1].share):
            best = chosen, use
        if best is not None and (best[1].least >= WELL_USED or not search.bounded):
            break
        try:
            tried = [candidate.channels for candidate in candidates]
            policy = nearby(policy, _corrected(search, places, uses, policy), tried, progress)
        except BudgetError:
            break
        if best is not None and policy in tried:
            break
    if best is not None:
        return _verified(search, best[0], candidates)
    assert places  # else the first measurement was returned
    _forget_last_misses(job)
    worst = uses.index(use)
    raise _over_the_budget(places[worst], timings[worst], use, several=len(places) > 1)


def _verified(search: Search, chosen: Candidate, candidates: list[Candidate]) -> Verified:
    """Return the chosen policy with its network, every layer of which is fitted: a measurement needs less."""
    return Verified(search.pruner.pruned(chosen.channels, thorough=True).cpu(), chosen, candidates)


def _forget_last_misses(job: Job) -> None:
    """Let the policy that missed be proved again, where nothing smaller was found to keep the budget."""
    chosen = job.run.policy.find()
    for folder in (job.run, *(other.folder for other in job.others)):
        missed = folder.misses.read()
        if missed and chosen is not None and missed[-1].channels == chosen.channels:
            folder.misses.drop_last()


def _corrected(search: Search, places: Sequence[Place], uses: Sequence[Use], policy: Policy) -> tuple[Limit, ...]:
    """Return the limits by the tables, corrected by how far each was off for a policy; unmeasured ones stay."""
    own, *there = [HEADROOM / place.off(use, policy) for place, use in zip(places, uses, strict=True)]
    shares = dict(zip([place.name for place in places[1:]], there, strict=True))
    return search.limits(own, [shares.get(limit.cost.device, 1 - search.margin) for limit in search.elsewhere])


def _measured(job: Job, search: Search, policy: Policy, ranked: Sequence[Policy], nearby: Nearby) -> _Measured:
    """Prune to a policy and measure the network."""
    model = search.pruner.pruned(policy).cpu()
    of = search.latency_budget.of if search.latency_budget else "fp32"
    timings = measure(job.run, job.trained, model, job.device, of)
    measured: list[Mapping[str, Timing]] = [timings]
    elsewhere = {}
    for other, limit in zip(job.others, search.elsewhere, strict=True):
        times: dict[str, float] = {}
        if other.device.in_reach:
            measured.append(there := measure(other.folder, job.trained, model, other.device, other.budget.of))
            times = {f"{name}_ms": there[file].latency_ms for name, file in _ELSEWHERE.items()}
        elsewhere[limit.cost.device] = Elsewhere(predicted_ms=limit.cost(policy), **times)
    candidate = Candidate(
        channels=dict(policy),
        score=nearby.score(policy, model),
        predicted_ms=search.costs.latency_ms(policy),
        measured_ms=timings["candidate"].latency_ms,
        original_ms=timings["original"].latency_ms,
        repaired=policy not in ranked,
    )
    return candidate.model_copy(update={"elsewhere": elsewhere}) if elsewhere else candidate, measured


def _next_best(others: list[Policy], error: UnsupportedModelError) -> Policy:
    """Return the policy to measure instead of one that has no file; raise its error where there is none."""
    if not others:
        raise error
    _LOG.warning("%s The next best policy is measured instead.", error)
    return others.pop(0)


def _over_the_budget(place: Place, timings: Mapping[str, Timing], use: Use, *, several: bool) -> BudgetMissedError:
    budget, slower, where = place.budget, place.slower, place.name if several else "the device"
    later = f" and the last benchmark takes {slower:.2f} times as long" if slower > 1 else ""
    measured_ms, allowed_ms = timings["candidate"].latency_ms, budget.allowed(timings["original"].latency_ms)
    return BudgetMissedError(
        f"no policy kept the budget on {where}: {measured_ms:.4g} ms were measured at last, known to {use.doubt:.1%}, "
        f"where {allowed_ms:.4g} ms are allowed{later}; the machine may be busy: run the same command again when it is "
        "quiet."
    )
