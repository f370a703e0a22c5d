"""The files of smaller networks beside the compressed one: measured, tested, and which of all to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from amc_hw.devices.base import Device
from amc_hw.pipeline.tested import file_quality
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.profiling.timing import Timing
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.summaries import Figures, Summary


def files_of(run: RunFolder, device: Device, names: Sequence[str]) -> dict[str, Path]:
    """Return the files of smaller networks with these names, whether they are there or not."""
    return {name: run.smaller_file(device.format, number) for number, name in enumerate(names, start=1)}


def smaller_files(run: RunFolder, device: Device) -> dict[str, Path]:
    """Return the files of smaller networks by their names."""
    known = run.smaller.find()
    if known is None:
        return {}
    return files_of(run, device, [each.name for each in known.networks])


def timed_as(name: str) -> str:
    """Return what a benchmark calls a smaller network."""
    return f"smaller {name}"


def smaller_figures(
    run: RunFolder, trained: TrainedModel, device: Device, timings: Mapping[str, Timing], progress: Progress
) -> dict[str, Figures]:
    """Evaluate the files of smaller networks on the test set; return what is known of each by its name."""
    known, found = run.smaller.find(), {}
    for each in () if known is None else known.networks:
        file, timing = smaller_files(run, device)[each.name], timings.get(timed_as(each.name))
        found[each.name] = Figures(
            accuracy=file_quality(run, trained, file, progress),
            latency_ms=None if timing is None else timing.latency_ms,
            macs=each.macs,
            params=each.params,
            size_bytes=each.size_bytes,
        )
    return found


def better_one(summary: Summary) -> str | None:
    """Return the smaller network to take instead of the compressed one; None where that is the better one.

    It is at least as accurate, and within each budget, or costs no more of it than the compressed network. A slower one
    has to be more accurate, and within a budget of the latency. Of several it is the most accurate, then the fastest.
    """
    better = [name for name, figures in summary.smaller.items() if _is_better(summary, figures)]
    known = summary.smaller
    return min(better, key=lambda name: (-(known[name].accuracy or 0), known[name].latency_ms or 0), default=None)


def _is_better(summary: Summary, smaller: Figures) -> bool:
    compressed = summary.compressed
    if None in (smaller.accuracy, compressed.accuracy, smaller.latency_ms, compressed.latency_ms):
        return False
    ahead = (smaller.accuracy or 0) - (compressed.accuracy or 0)
    is_as_fast = (smaller.latency_ms or 0) <= (compressed.latency_ms or 0)
    budgets = {each.metric: each.target for each in (summary.budget, *summary.limits) if each is not None}
    for metric in {"latency_ms", *budgets}:
        theirs, ours = smaller.value(metric) or 0, compressed.value(metric) or 0
        if theirs > ours and theirs > budgets.get(metric, 0):
            return False
    return ahead > 0 or (ahead == 0 and is_as_fast)
