"""The before/after table, the same rows in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Callable

from amc_hw.formats.onnx.session import EXACT
from amc_hw.policy import TOP1
from amc_hw.report.numbers import MISSING, count, milliseconds, percent, points, ratio, size
from amc_hw.runs.records import PrecisionChoice
from amc_hw.runs.summaries import Figures, Summary

# Row name, figure of the original, figure of the compressed network, how a value is written.
_ROWS: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("Top-1 accuracy", "accuracy", "accuracy", percent),
    ("Top-1 before fine-tuning", "accuracy", "accuracy_before_finetune", percent),
    ("Latency, measured", "latency_ms", "latency_ms", milliseconds),
    ("Latency, predicted", "predicted_ms", "predicted_ms", milliseconds),
    ("MACs", "macs", "macs", count),
    ("Parameters", "params", "params", count),
    ("File size", "size_bytes", "size_bytes", size),
)


def titled(metric: str) -> str:
    """Return what a metric is called at the beginning of a row; one with capitals of its own (mAP) stays as it is."""
    first = metric.partition(" ")[0]
    return metric[:1].upper() + metric[1:] if first == first.lower() else metric


def before_after_rows(original: Figures, compressed: Figures, metric: str = TOP1) -> list[tuple[str, str, str, str]]:
    """Return the rows (name, original, compressed, change) of a finished run, whose accuracies are of a metric.

    The change is in percentage points for accuracies, a ratio (compressed / original) for all else. A value
    that is not known is written as a dash; a row without a compressed value is left out where the
    original's is missing, too, or belongs to another row.
    """
    rows = []
    for name, before_key, after_key, written in _ROWS:
        before, after = getattr(original, before_key), getattr(compressed, after_key)
        if after is None and (before is None or before_key != after_key):
            continue
        cells = [MISSING if value is None else written(value) for value in (before, after)]
        if metric != TOP1:
            name = {_ROWS[0][0]: titled(metric), _ROWS[1][0]: f"{titled(metric)} before fine-tuning"}.get(name, name)
        rows.append((name, cells[0], cells[1], _change(before, after, written is percent)))
    return rows


def precision_rows(summary: Summary) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each precision of both networks: name, accuracy, latency, share of the original's in fp32, size.

    There are none where fp32 ships.
    """
    if not summary.others:
        return []
    named = {
        "original in fp32": summary.original,
        **summary.others,
        _ships(summary): summary.compressed,
    }
    whole = summary.original.latency_ms
    order = sorted(named, key=lambda name: (not name.startswith("original"), "in fp32" not in name))
    return [_figures_row(name, named[name], whole) for name in order]


def smaller_rows(summary: Summary) -> list[tuple[str, str, str, str, str]]:
    """Return such a row for the original, the compressed and every smaller network; none where there is no smaller."""
    if not summary.smaller:
        return []
    named = {"original in fp32": summary.original, _ships(summary): summary.compressed}
    named |= {f"{name} in {summary.precision}": figures for name, figures in summary.smaller.items()}
    return [_figures_row(name, figures, summary.original.latency_ms) for name, figures in named.items()]


def _ships(summary: Summary) -> str:
    is_whole = summary.compressed.macs is not None and summary.compressed.macs == summary.original.macs
    return f"{'original' if is_whole else 'compressed'} in {summary.precision}, which ships"


def _figures_row(name: str, figures: Figures, whole: float | None) -> tuple[str, str, str, str, str]:
    """Return a network's row, with the share of the original's latency in fp32, which is given in ms."""
    cells = [
        MISSING if value is None else written(value)
        for value, written in (
            (figures.accuracy, percent),
            (figures.latency_ms, milliseconds),
            (figures.latency_ms / whole if figures.latency_ms and whole else None, ratio),
            (figures.size_bytes, size),
        )
    ]
    return name, cells[0], cells[1], cells[2], cells[3]


DEVICE_COLUMNS = ("device", "budget", "original", "compressed", "change", "accuracy", "budget is")
"""Of `device_rows`."""


def device_rows(summary: Summary) -> list[tuple[str, str, str, str, str, str, str]]:
    """Return a row for each of several devices: its latencies, its file's accuracy, whether its budget is held there.

    Where nothing can be measured, latencies are predicted, and the budget is not proved. One device alone has no row.
    """
    rows = []
    for each in summary.devices:
        before = each.original.predicted_ms if each.unverified else each.original.latency_ms
        cells = [MISSING if value is None else milliseconds(value) for value in (before, each.latency_ms)]
        accuracy = MISSING if each.compressed.accuracy is None else percent(each.compressed.accuracy)
        budget, change = milliseconds(each.budget.target), _change(before, each.latency_ms, False)
        state = "missed" if not each.is_kept else "not proved" if each.unverified else "held"
        rows.append((each.name, budget, cells[0], cells[1], change, accuracy, state))
    return rows


def use_sentence(summary: Summary) -> str:
    """Return what whoever runs the files must know of them; empty where there is nothing."""
    sentences = []
    if summary.io != "float32":
        sentences.append(
            f"The files of {summary.precision} take and give {summary.io}: real number = (integer - zero point) x "
            "scale, which stand in the file, of its input and of its output."
        )
    formats = {*summary.artifacts, *(name for each in summary.devices for name in each.artifacts)}
    if summary.precision == "int8" and "onnx" in formats:
        sentences.append(
            f"Run the int8 files with ONNX Runtime's session option {EXACT} at 1, as they were measured and tested "
            "here: without it x86 processors that have no VNNI cut sums of products off."
        )
    return " ".join(sentences)


def trial_rows(choice: PrecisionChoice) -> list[tuple[str, str, str, str, str, bool]]:
    """Return a row (name, latency, size, share of the budget, score, whether it was chosen) for each precision."""
    return [
        (
            trial.precision,
            milliseconds(trial.latency_ms),
            size(trial.size_bytes),
            ratio(trial.used),
            MISSING if trial.accuracy is None else percent(trial.accuracy),
            trial.precision == choice.chosen,
        )
        for trial in choice.trials
    ]


def _change(before: float | None, after: float | None, is_accuracy: bool) -> str:
    if before is None or after is None:
        return MISSING
    if is_accuracy:
        return points(after - before)
    return ratio(after / before) if before > 0 else MISSING
