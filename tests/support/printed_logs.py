"""What benchmark_model prints for a network today, with made-up times."""

from __future__ import annotations

from collections.abc import Sequence

REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:"
TITLES = ("[node type]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]", "[Name]")


def print_today(
    kernels: Sequence[str], times_us: Sequence[int], *, threads: int = 4, graph: str = "net.tflite", delegate: str = ""
) -> str:
    """The log of 200 runs of a network, operator by operator."""
    total = sum(times_us)
    statistics = f"first={total + 9} curr={total} min={total - 5} max={total + 90} avg={total} std=20"
    until = "iterations and at least 0 seconds but terminate if exceeding 3600 seconds."
    lines = [
        "INFO: STARTING!",
        f"INFO: Num threads: [{threads}]",
        f"INFO: Graph: [/data/local/tmp/{graph}]",
        "INFO: Enable op profiling: [1]",
        f"INFO: #threads used for CPU inference: [{threads}]",
        *([f"INFO: Created TensorFlow Lite {delegate} delegate for CPU."] if delegate else []),
        "INFO: Initialized session in 16.599ms.",
        f"INFO: Running benchmark for at least 100 {until}",
        f"INFO: count=100 {statistics} p5={total - 2} median={total} p95={total + 7}",
        "",
        f"INFO: Running benchmark for at least 200 {until}",
        f"INFO: count=200 {statistics} p5={total - 2} median={total} p95={total + 7}",
        "",
        f"INFO: Inference timings in us: Init: 16599, First inference: {total + 9}, "
        f"Warmup (avg): {total}, Inference (avg): {total}",
        "INFO: Profiling Info for Benchmark Initialization:",
        *_table(1, ["AllocateTensors"], [1356]),
        f"INFO: {REGULAR}",
        *_table(200, kernels, times_us),
    ]
    return "\n".join(lines)


def _table(runs: int, kernels: Sequence[str], times_us: Sequence[int]) -> list[str]:
    total, before, rows = sum(times_us), 0, []
    for index, (kernel, time) in enumerate(zip(kernels, times_us, strict=True)):
        before += time
        shares = (f"{100 * time / total:7.3f}%", f"{100 * before / total:7.3f}%")
        cells = (f"{kernel:>24}", f"{1.1 * time / 1e3:9.3f}", f"{time / 1e3:9.3f}", *shares, f"{0:10.3f}", f"{1:9}")
        rows.append("\t" + "\t".join((*cells, f"[{kernel}]:{index}")))
    header = "\t" + "\t".join(f"{title:>9}" for title in TITLES)
    line = "=" * 30
    return [
        f"{line} Run Order {line}",
        header,
        *rows,
        "",
        f"{line} Top by Computation Time {line}",
        header,
        *rows[:2],
        "",
        f"Number of nodes executed: {len(rows)}",
        f"Timings (microseconds): count={runs} first={total + 9} curr={total} min={total} max={total + 90} "
        f"avg={total} std=20",
        "Memory (bytes): count=0",
        f"{len(rows)} nodes observed",
        "",
        "",
    ]
