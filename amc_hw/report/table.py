"""The before/after table, the same rows in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amc_hw.report.numbers import MISSING, count, milliseconds, percent, points, ratio, size

# Row name, key in summary.json's "original", key in its "compressed", how a value is written.
_ROWS: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("Top-1 accuracy", "accuracy", "accuracy", percent),
    ("Top-1 before fine-tuning", "accuracy", "accuracy_before_finetune", percent),
    ("Latency, measured", "latency_ms", "latency_ms", milliseconds),
    ("Latency, predicted", "predicted_ms", "predicted_ms", milliseconds),
    ("MACs", "macs", "macs", count),
    ("Parameters", "params", "params", count),
    ("File size", "size_bytes", "size_bytes", size),
)


def before_after_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the rows (name, original, compressed, change) of a summary.json document.

    The change is in percentage points for accuracies, a ratio (compressed / original) for all else. A value
    that is not in the summary is written as a dash; a row without a compressed value is left out where the
    original's is missing, too, or belongs to another row.
    """
    original = summary.get("original") or {}
    compressed = summary.get("compressed") or {}
    rows = []
    for name, before_key, after_key, written in _ROWS:
        before, after = original.get(before_key), compressed.get(after_key)
        if after is None and (before is None or before_key != after_key):
            continue
        cells = [MISSING if value is None else written(value) for value in (before, after)]
        rows.append((name, cells[0], cells[1], _change(before, after, written is percent)))
    return rows


def _change(before: float | None, after: float | None, is_accuracy: bool) -> str:
    if before is None or after is None:
        return MISSING
    if is_accuracy:
        return points(after - before)
    return ratio(after / before) if before > 0 else MISSING
