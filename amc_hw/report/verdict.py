"""What a run came to: a headline, a sentence with the numbers, and the bars below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from amc_hw.chance import standard_error
from amc_hw.policy import TOP1
from amc_hw.report.charts import best_so_far
from amc_hw.report.numbers import TIMES, fixed, milliseconds, percent, points, ratio, with_unit
from amc_hw.report.run import Run
from amc_hw.report.smaller import smaller_sentences
from amc_hw.runs.summaries import BudgetFigures, OnDevice, Summary

State = Literal["held", "missed", "beaten", "unverified", "unfinished"]

_LABELS: dict[State, str] = {
    "held": "Budget held",
    "missed": "Budget missed",
    "beaten": "A smaller network is better",
    "unverified": "Not verified",
    "unfinished": "Unfinished",
}
_CURE = "Search again with a smaller budget."
_CURE_OF_LATENCY = (
    "Run the same command when the device is quiet: it times the network again, and shrinks it if it still misses."
)
_TITLES = {"latency_ms": "Latency", "macs": "MACs", "params": "Parameters", "size_bytes": "File size"}


@dataclass(frozen=True)
class Verdict:
    """The headline and the sentence below it, and what to do about a missed budget."""

    state: State
    headline: str
    sentence: str
    cure: str = ""

    @property
    def label(self) -> str:
        """The verdict in two words."""
        return _LABELS[self.state]


@dataclass(frozen=True)
class GaugeBar:
    """One network's bar in the headline's gauge."""

    name: str
    style: str
    text: str
    width: float


@dataclass(frozen=True)
class Gauge:
    """The budget's metric, original against compressed, with a mark where the budget lies (percent)."""

    title: str
    bars: tuple[GaugeBar, ...]
    budget: float
    budget_text: str


def verdict(run: Run) -> Verdict:
    """Judge the run by the value that counts, and by the smaller networks that it was held against."""
    judged = of_budget(run)
    if run.summary is None or run.summary.take is None:
        return judged
    (advice,) = smaller_sentences(run.summary)
    sentence = f"{advice[:1].upper()}{advice[1:]} The compressed network: {judged.sentence}"
    return Verdict("beaten", f"Take {run.summary.take} instead", sentence)


def of_budget(run: Run) -> Verdict:
    """Judge the run by its budget alone: by the measured value where that is of the latency."""
    summary = run.summary
    if summary is None or summary.budget is None:
        return _unfinished(run)
    budget = summary.budget
    value, how = _value(summary, budget.metric)
    if value is None:
        return _unfinished(run)
    written = with_unit(budget.metric)
    allowed = f"the budget is {written(budget.target)}"
    if budget.ratio is not None:
        whole, named = summary.whole(budget), "" if budget.of == "fp32" else f" in {budget.of}"
        before = whole.value(budget.metric)
        allowed += f" ({ratio(budget.ratio)} of the original{named}" + (f", {written(before)})" if before else ")")
    device = run.fact("device")
    reached = f"{written(value)}{f' {how}' if how else ''}"
    if how == "measured" and device:
        reached += f" on {summary.devices[0].name}, {device}" if summary.devices else f" on {device}"
    unstable = run.benchmark is not None and any(each.unstable for each in run.benchmark.models)
    headline, sentence = _headline(summary, unstable=unstable), f"{reached}; {allowed}"
    missed, kept = list[str](), list[str]()
    is_latency = budget.metric == "latency_ms" or value <= budget.target
    if value > budget.target:
        missed.append(f"{fixed(100 * (value / budget.target - 1), 1)} % over: {sentence}")
    for limit in summary.limits:
        cost, written = summary.compressed.value(limit.metric), with_unit(limit.metric)
        if cost is not None:
            figures = f"{written(cost)}, where {written(limit.target)} are allowed"
            (missed if cost > limit.target else kept).append(figures)
            is_latency = is_latency and cost <= limit.target
    for each in summary.devices[1:]:
        latency, whose = each.latency_ms, "by the table of" if each.unverified else "measured on"
        if latency is not None:
            where = f"{milliseconds(latency)} {whose} {each.name}, where {milliseconds(each.budget.target)} are allowed"
            (kept if each.is_kept else missed).append(where)
    if missed:
        return Verdict("missed", headline, f"{'; also '.join(missed)}.", _CURE_OF_LATENCY if is_latency else _CURE)
    sentence = "; also ".join([sentence, *kept])
    if run.is_whole:
        sentence += f". Nothing is pruned: the original in {summary.precision} keeps the budget"
    if not summary.unverified and (names := [each.name for each in summary.devices if each.unverified]):
        unproved = f"Nothing proves the budget on {', '.join(names)}"
        return Verdict("unverified", headline, f"{unproved}, where it is held by prediction: {sentence}.")
    if summary.unverified or how == "predicted":
        return Verdict("unverified", headline, f"Held by the prediction, not verified on the device: {sentence}.")
    return Verdict("held", headline, f"{sentence}.")


def _value(summary: Summary, metric: str) -> tuple[float | None, Literal["measured", "predicted", ""]]:
    """Return the compressed network's value of the metric, and how it is known ("" for what is counted)."""
    compressed = summary.compressed
    if metric != "latency_ms":
        return compressed.value(metric), ""
    if compressed.latency_ms is None or summary.unverified:
        return compressed.predicted_ms or compressed.latency_ms, "predicted"
    return compressed.latency_ms, "measured"


def _headline(summary: Summary, *, unstable: bool) -> str:
    before, after = summary.original, summary.compressed
    if summary.devices:
        gains = [gain for each in summary.devices if (gain := _gain_on(each))]
    else:
        gains = [_gain(before.latency_ms, after.latency_ms, unstable=unstable)]
    if not any(gains) and before.macs and after.macs is not None:
        gains = [f"{ratio(after.macs / before.macs)} of the MACs"]
    if any(gains) and summary.precision != "fp32":
        gains[-1] += f" in {summary.precision}"
    return ", ".join(filter(None, (*gains, _accuracy_change(summary)))) or "Compressed"


def _gain(before_ms: float | None, after_ms: float | None, *, unstable: bool = False) -> str:
    """Return how much faster a network has become; nothing where one of its latencies is not known.

    Of an unstable measurement it is said with fewer digits.
    """
    if not before_ms or not after_ms:
        return ""
    faster, digits, about = before_ms / after_ms, 1 if unstable else 2, "about " if unstable else ""
    more, word = (faster, "faster") if faster >= 1 else (1 / faster, "slower")
    return f"{about}{fixed(more, digits)}{TIMES} {word}"


def _gain_on(device: OnDevice) -> str:
    """Return the gain on one of several devices, and whether it is a prediction."""
    before, after = device.original, device.compressed
    if not device.unverified:
        gain = _gain(before.latency_ms, after.latency_ms)
    elif gain := _gain(before.predicted_ms, after.predicted_ms):
        gain = f"by prediction {gain}"
    return f"{gain} on {device.name}" if gain else ""


def _accuracy_change(summary: Summary) -> str:
    before, after = summary.original.accuracy, summary.compressed.accuracy
    if after is None:
        return ""
    if before is None:
        return f"{percent(after)} {summary.metric}"
    change = points(abs(after - before)).removeprefix("+").removesuffix(" points")
    more = "more" if after > before else "less"
    if summary.metric != TOP1:
        return f"{change} points {more} {summary.metric}" if float(change) else f"{summary.metric} unchanged"
    if not float(change):
        return "accuracy unchanged"
    if summary.test_images and 0 < after - before <= standard_error(before, summary.test_images):
        return "no less accurate"  # a gain by chance is no news, and a loss is told all the same
    return f"{change} points {more} accurate"


def _unfinished(run: Run) -> Verdict:
    policy = run.policy
    if policy is not None:
        known = " and measured at " if policy.measured_ms else ""
        known += milliseconds(policy.measured_ms) if policy.measured_ms else ""
        predicted = f", predicted to take {milliseconds(policy.predicted_ms)}" if policy.predicted_ms else ""
        return Verdict(
            "unfinished",
            "A policy is chosen",
            f"The search has chosen a policy{predicted}{known}; its fine-tuning, export or benchmark is still to come.",
        )
    if run.episodes:
        best = best_so_far(run.episodes)[-1]
        planned = run.config.get("episodes")
        whole = isinstance(planned, int) and planned == len(run.episodes)
        of = f" of {planned}" if isinstance(planned, int) and planned > len(run.episodes) else ""
        return Verdict(
            "unfinished",
            "The search is done, its policy not proved yet" if whole else "The search has not ended",
            f"{len(run.episodes)}{of} episodes are done; the best so far is episode {best.episode} with "
            f"{percent(best.accuracy)} on the {run.split} before fine-tuning.",
        )
    return Verdict("unfinished", "Nothing was searched yet", "The run folder holds settings only, or measurements.")


def gauges(summary: Summary | None) -> list[Gauge]:
    """Return the headline's bars, of several devices a pair for each; none where a value is not known."""
    if summary is None:
        return []
    further = [_gauge_on(each) for each in summary.devices[1:]]
    return [each for each in (gauge(summary), *further) if each is not None]


def _gauge_on(device: OnDevice) -> Gauge | None:
    """Return the bars of one of several devices."""
    figures = device.original
    before, how = (figures.predicted_ms, "predicted") if device.unverified else (figures.latency_ms, "measured")
    if before is None or device.latency_ms is None:
        return None
    return _bars(f"Latency on {device.name}, {how}", before, device.latency_ms, device.budget)


def gauge(summary: Summary) -> Gauge | None:
    """Return the bars of the run's own device; None where the budget or either network's value is not known."""
    if summary.budget is None:
        return None
    metric = summary.budget.metric
    original, (compressed, how) = summary.original.value(metric), _value(summary, metric)
    if original is None or compressed is None:
        return None
    title = _TITLES.get(metric, metric)
    if how:
        title += f" on {summary.devices[0].name}" if summary.devices else ""
        title += ", measured" if how == "measured" else ", original measured and compressed predicted"
    return _bars(title, original, compressed, summary.budget)


def _bars(title: str, original: float, compressed: float, budget: BudgetFigures) -> Gauge:
    written, target = with_unit(budget.metric), budget.target
    longest = max(original, compressed, target)
    bars = (
        GaugeBar("Original", "original", written(original), 100 * original / longest),
        GaugeBar(
            "Compressed",
            "missed" if compressed > target else "compressed",
            written(compressed),
            100 * compressed / longest,
        ),
    )
    return Gauge(title, bars, 100 * target / longest, f"Budget {written(target)}")
