"""What makes a run's figures less than what they look like."""

from __future__ import annotations

from collections.abc import Sequence

from amc_hw.chance import standard_error
from amc_hw.policy import TOP1
from amc_hw.report.numbers import fixed, milliseconds, signed_percent
from amc_hw.report.run import Run
from amc_hw.report.samples import ModelSamples, benchmark_samples
from amc_hw.report.verdict import verdict
from amc_hw.report.verification import BAND
from amc_hw.runs.records import BenchmarkedModel
from amc_hw.runs.summaries import Figures, Summary

# The samples and the summary are of the same measurement when they agree this closely.
_SAME = 0.01
# Of the accuracy, in points: below it, nobody draws a wrong conclusion.
_SMALL_ERROR = 0.3


def cautions(run: Run, samples: list[ModelSamples]) -> list[str]:
    """Return everything that makes the figures less than what they look like, a sentence each."""
    return [
        *_of_the_budget(run),
        *_of_the_search(run),
        *_of_the_precision(run),
        *_of_the_device(run),
        *_of_the_accuracy(run),
        *_of_the_measurements(run, samples),
    ]


def _of_the_budget(run: Run) -> list[str]:
    summary, found = run.summary, []
    judged = verdict(run)
    if judged.state == "missed":
        found.append(f"The compressed network is over its budget. {judged.cure}")
    warned = run.policy is not None and run.policy.unverified and run.policy.warnings
    told = warned or (summary is not None and summary.devices)  # of several, it is said where it is a prediction
    if (judged.state == "unverified" or (summary is not None and summary.unverified)) and not told:
        found.append(
            "The budget was not verified on the device: the latency is a prediction until the exported file "
            "is measured."
        )
    return found


def _of_the_search(run: Run) -> list[str]:
    """Return what the search itself warned of."""
    warnings = [*(run.policy.warnings if run.policy else ()), *(run.summary.warnings if run.summary else ())]
    return [each if _is_named(each) else each[:1].upper() + each[1:] for each in warnings]


def _is_named(sentence: str) -> bool:
    """Tell whether a sentence begins with the name of a device that it is of, which stays as it is written."""
    return sentence.partition(" ")[0].endswith(":")


def _of_the_precision(run: Run) -> list[str]:
    """Tell a precision that gains no time: what it costs in accuracy and trouble is for nothing then."""
    summary = run.summary
    in_fp32 = summary.others.get("compressed in fp32") if summary else None
    if summary is None or in_fp32 is None or not in_fp32.latency_ms or not summary.compressed.latency_ms:
        return []
    if in_fp32.latency_ms > summary.compressed.latency_ms:
        return []
    return [
        f"In {summary.precision} the compressed network is no faster than in fp32, where it takes "
        f"{milliseconds(in_fp32.latency_ms)}: compress in fp32, or let amc-hw choose the precision."
    ]


def _of_the_device(run: Run) -> list[str]:
    found = []
    if run.device.get("simulated"):
        found.append("The device is simulated: its latencies are made up for trying things out, not measured.")
    searched = run.summary.device if run.summary else {}
    benchmarked = run.benchmark.device if run.benchmark else {}
    if searched and benchmarked and searched != benchmarked:
        names = sorted(name for name in {*searched, *benchmarked} if searched.get(name) != benchmarked.get(name))
        found.append(f"The search and the benchmark ran on devices that differ in: {', '.join(names)}.")
    return found


def _of_the_accuracy(run: Run) -> list[str]:
    summary = run.summary
    if summary is None or not summary.test_images or summary.compressed.accuracy is None or summary.metric != TOP1:
        return []
    error = 100 * standard_error(summary.compressed.accuracy, summary.test_images)
    if error < _SMALL_ERROR:
        return []
    return [
        f"The test set has only {summary.test_images} images: the standard error of an accuracy is "
        f"{fixed(error, 1)} points."
    ]


def _of_the_measurements(run: Run, samples: list[ModelSamples]) -> list[str]:
    summary = run.summary
    found = _of_unstable(run.benchmark.models if run.benchmark else (), samples, _where(summary) if summary else "")
    for name, benchmark in run.further.items():
        if benchmark is not None:
            found += _of_unstable(benchmark.models, benchmark_samples(benchmark), f" on {name}")
    if summary is None:
        return found
    for sample in samples:
        said = {"original": summary.original, "compressed": summary.compressed}.get(sample.name)
        if said is not None and said.latency_ms and abs(sample.latency_ms / said.latency_ms - 1) > _SAME:
            found.append(
                f"The samples of the benchmark give {milliseconds(sample.latency_ms)} for “{sample.name}”, "
                f"but the summary says {milliseconds(said.latency_ms)}; benchmark again."
            )
    found += _of_the_prediction(summary.original, summary.compressed, _where(summary))
    for each in summary.devices[1:]:
        found += _of_the_prediction(each.original, each.compressed, f" on {each.name}")
    return found


def _of_unstable(models: Sequence[BenchmarkedModel], samples: list[ModelSamples], where: str) -> list[str]:
    """Return a sentence for each measurement whose repeats disagree."""
    found = []
    spreads = {sample.name: sample.spread for sample in samples}
    for model in models:
        if model.unstable:
            spread = spreads.get(model.name)
            how = f": its repeats differ by {100 * spread:.1f} %" if spread is not None else ""
            how += f", its standard error is {100 * model.doubt:.1f} %" if model.doubt else ""
            found.append(
                f"The measurement of “{model.name}”{where} is unstable{how}; let the device cool, leave it "
                "alone and benchmark again."
            )
    return found


def _where(summary: Summary) -> str:
    return f" on {summary.devices[0].name}" if summary.devices else ""


def _of_the_prediction(original: Figures, compressed: Figures, where: str) -> list[str]:
    """Tell a table that is wrong for this network from a device that is slower or faster than it was."""
    if not (compressed.latency_ms and compressed.predicted_ms):
        return []
    error = compressed.latency_ms / compressed.predicted_ms - 1
    if abs(error) <= BAND:
        return []
    found = f"The measured latency of the compressed network{where} is {signed_percent(error)} off its prediction"
    if original.latency_ms and original.predicted_ms:
        pace = original.latency_ms / original.predicted_ms
        left = (1 + error) / pace - 1
        if abs(left) <= BAND:
            return [
                f"{found}, but that of the original is {signed_percent(pace - 1)} off, too: the device's speed has "
                f"changed since its table was made; at its present one the prediction is "
                f"{milliseconds(pace * compressed.predicted_ms)}, which the measurement is {signed_percent(left)} off."
            ]
    return [f"{found}; profile {where.removeprefix(' on ') or 'the device'} again, or check the table."]
