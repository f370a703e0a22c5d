"""Smaller networks beside the compressed one, in words: which is better, and by how much."""

from __future__ import annotations

from amc_hw.policy import TOP1
from amc_hw.report.numbers import MISSING, fixed, milliseconds, percent, ratio
from amc_hw.report.run import Run
from amc_hw.runs.smaller import SmallerNetwork
from amc_hw.runs.summaries import Figures, Summary


def smaller_sentences(summary: Summary) -> list[str]:
    """Return what the run says of each smaller network, the one to take instead of the compressed one alone."""
    if summary.take is not None:
        return [_advice(summary, summary.take, summary.smaller[summary.take])]
    return [_outcome(summary, name, figures) for name, figures in summary.smaller.items()]


def before_sentences(run: Run) -> list[str]:
    """Return what was known of each smaller network before the search."""
    known = run.smaller
    if known is None:
        return []
    return [_before(each, run.split, known.original_score) for each in known.networks]


def _before(each: SmallerNetwork, split: str, original: float) -> str:
    state = "held the budget" if each.keeps else "missed the budget"
    return (
        f"Before the search, {each.name} {state}, of which it used {ratio(each.used)}, with a score of "
        f"{percent(each.score)} on the {split}; the original scored {percent(original)}."
    )


def _advice(summary: Summary, name: str, smaller: Figures) -> str:
    over = ", over the budget" if _is_over(summary, summary.compressed) else ""
    file = next((file for kind, file in summary.artifacts.items() if kind.endswith(f" of {name}")), summary.precision)
    return (
        f"take {name}: as it is ({file}), it has {_both(summary, smaller)}, and the compressed network "
        f"{_both(summary, summary.compressed)}{over}."
    )


def _outcome(summary: Summary, name: str, smaller: Figures) -> str:
    compressed = summary.compressed
    theirs, ours = _both(summary, smaller), _both(summary, compressed)
    if None in (smaller.accuracy, compressed.accuracy, smaller.latency_ms, compressed.latency_ms):
        return f"{name} has {theirs}, the compressed network {ours}."
    if _is_over(summary, smaller):
        return f"{name} is over the budget: it has {theirs}, the compressed network {ours}."
    if _is_over(summary, compressed):
        return f"the compressed network is over the budget: it has {ours}, and {name} {theirs}."
    ahead = 100 * ((compressed.accuracy or 0) - (smaller.accuracy or 0))
    by = f"by {fixed(ahead, 2)} points" if ahead > 0 else "by its latency"
    return f"the compressed network beats {name} {by}: it has {ours}, {name} {theirs}."


def _both(summary: Summary, figures: Figures) -> str:
    """Return accuracy and latency of a network in words."""
    scored = "of the test set" if summary.metric == TOP1 else summary.metric
    accuracy = MISSING if figures.accuracy is None else percent(figures.accuracy)
    latency = MISSING if figures.latency_ms is None else milliseconds(figures.latency_ms)
    return f"{accuracy} {scored} in {latency}"


def _is_over(summary: Summary, figures: Figures) -> bool:
    budgets = [each for each in (summary.budget, *summary.limits) if each is not None]
    return any((figures.value(each.metric) or 0) > each.target for each in budgets)
