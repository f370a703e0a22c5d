#!/usr/bin/env python3
"""Times networks of ATen calls (aten_network.py), and the calls inside them, with PyTorch on a CUDA GPU.

Needs numpy and torch, nothing else. answering.py has the way requests come; this program takes

    {"do": "describe"}
    {"do": "time_model",   "file": "m.aten", "warmup": 100, "runs": 200}   -> {"samples_us": [...], "gpu": {...}}
    {"do": "time_kernels", "file": "m.aten", "warmup": 3, "runs": 10}
        -> {"kernels": [{"name": "conv2d", "samples_us": [...]}, ...], "gpu": {...}}

With --mode graph a network is captured as a CUDA graph and its replays are timed by events on the GPU, queued without
waiting, so that gaps between launches do not count. With --mode eager every call is launched by Python and the clock
runs until the GPU is done: the gaps count, as they do for whoever deploys eagerly. With --l2 cold the cache is
overwritten before every run. A file says itself in which precision it computes; --dtype tf32 has the GPU compute those
of float32 with inputs rounded to TF32.

usage: python -P time_torch.py [--mode graph|eager] [--dtype fp32|tf32] [--layout channels_last|contiguous]
                               [--l2 warm|cold] [--batch-size N] [--seed S]
"""

from __future__ import annotations

import argparse
import functools
import platform
import re
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
import answering

try:
    import torch
    from aten_network import Network
except ImportError as error:
    sys.exit(f"{error.name} is not installed for {sys.executable}; install it there with: pip install {error.name}")

RANGE = "amc-hw:"
"""Begins the name of the profiler's range around each call."""
CALLS_BEFORE_CAPTURE = 3
GPU_FIELDS = {
    "clock_mhz": "clocks.sm",
    "clock_max_mhz": "clocks.max.sm",
    "temperature_c": "temperature.gpu",
    "power_w": "power.draw",
    "power_state": "pstate",
}
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""What newer and older drivers call the reasons for a lower clock; an unknown name makes nvidia-smi tell nothing."""
NUMBER = re.compile(r"P?(\d+(?:\.\d+)?)")


def no_cuda() -> str:
    """Say why there is no CUDA device, or "" where there is one."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return f"PyTorch says '{str(error).splitlines()[0].split('. ')[0]}'"
    return "" if torch.cuda.device_count() else "PyTorch sees no GPU"


def gpu_state() -> dict[str, float]:
    """Clock, heat and power of the GPU as nvidia-smi tells them; what it does not tell is left out."""
    reasons = next((field for field in REASONS if is_known(field)), None)
    fields = {**GPU_FIELDS, **({"reasons": reasons} if reasons else {})}
    numbers = zip(fields, map(number, answering.nvidia_smi(*fields.values())))  # noqa: B905
    return {name: value for name, value in numbers if value is not None}


@functools.lru_cache
def is_known(field: str) -> bool:
    """Tell whether this machine's nvidia-smi knows a field."""
    return bool(answering.nvidia_smi(field))


def number(text: str) -> float | None:
    """Read a number, a power state (P0) or a mask of bits (0x...); None for anything else."""
    if text.startswith("0x"):
        return float(int(text, 16))
    found = NUMBER.fullmatch(text)
    return float(found[1]) if found else None


class Timer:
    """Answers requests; every network is loaded for its request and let go again."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.generator = torch.Generator().manual_seed(options.seed)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.dtype == "tf32"
        torch.backends.cudnn.benchmark = True  # the fastest kernel for each shape, as whoever deploys would choose
        self.cold = None
        if options.l2 == "cold":
            size = torch.cuda.get_device_properties(0).L2_cache_size
            self.cold = torch.empty(2 * size, dtype=torch.int8, device="cuda")

    def describe(self, request: dict[str, object]) -> dict[str, object]:
        """What this machine and its runtime are."""
        driver = answering.nvidia_smi("driver_version")
        system = f"{platform.system()} {platform.release()}" + (f", driver {driver[0]}" if driver else "")
        return {
            **answering.machine(),
            "processor": torch.cuda.get_device_name(0),
            "system": system,
            "runtime": f"torch ({self.options.mode}, {self.options.layout}, L2 {self.options.l2})",
            "runtime_version": f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}",
            "delegate": "none",  # no call is fused into another
            "cores": "any",
        }

    def time_model(self, request: dict[str, object]) -> dict[str, object]:
        """Time of every run of a whole network."""
        network, images = self.load(request)
        timed = self.replays if self.options.mode == "graph" else self.eager_runs
        with torch.inference_mode():
            before = gpu_state()
            samples = timed(network, images, int(str(request["warmup"])), int(str(request["runs"])))
        return {"samples_us": samples, "gpu": {"before": before, "after": gpu_state()}}

    def replays(self, network: Network, images: torch.Tensor, warmup: int, runs: int) -> list[float]:
        """Capture the network and time its replays on the GPU, all queued before the first is waited for."""
        graph = captured(network, images)
        marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]
        for _ in range(warmup):
            graph.replay()
        torch.cuda.synchronize()
        for start, end in marks:
            self.clear_cache()
            start.record()
            graph.replay()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1e3 for start, end in marks]

    def eager_runs(self, network: Network, images: torch.Tensor, warmup: int, runs: int) -> list[float]:
        """Time by the clock from the first launch until the GPU is done."""
        samples = []
        for number in range(warmup + runs):
            self.clear_cache()
            torch.cuda.synchronize()
            start = time.perf_counter_ns()
            network(images)
            torch.cuda.synchronize()
            if number >= warmup:
                samples.append((time.perf_counter_ns() - start) / 1e3)
        return samples

    def time_kernels(self, request: dict[str, object]) -> dict[str, object]:
        """Time on the GPU of the kernels of every call inside the running network, by PyTorch's profiler (CUPTI)."""
        network, images = self.load(request)
        warmup, runs = int(str(request["warmup"])), int(str(request["runs"]))
        activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.inference_mode():
            for _ in range(warmup + CALLS_BEFORE_CAPTURE):
                network(images)
            torch.cuda.synchronize()
            before = gpu_state()
            with torch.profiler.profile(activities=activities) as profiler:
                for _ in range(runs):
                    self.clear_cache()
                    network(images, lambda name: torch.profiler.record_function(RANGE + name))
                torch.cuda.synchronize()
        ranges = [
            (event.name.removeprefix(RANGE), float(event.device_time_total))
            for event in sorted(profiler.events(), key=lambda event: event.time_range.start)
            if event.name.startswith(RANGE) and event.device_type == torch.autograd.DeviceType.CPU
        ]
        names = [name for name, _, _ in network.calls]
        return {"kernels": kernels_of_ranges(ranges, names, runs), "gpu": {"before": before, "after": gpu_state()}}

    def load(self, request: dict[str, object]) -> tuple[Network, torch.Tensor]:
        """Load a network and make random images for it."""
        options = self.options
        network = Network(request["file"], "cuda", options.layout == "channels_last")
        if network.input_shape[0] != options.batch_size:
            raise RuntimeError(
                f"the file's batch size is {network.input_shape[0]}, the device's {options.batch_size}; "
                f"name the device with batch_size={network.input_shape[0]}"
            )
        return network, network.placed(torch.rand(network.input_shape, generator=self.generator))

    def clear_cache(self) -> None:
        """Overwrite the L2 cache where it is to be cold."""
        if self.cold is not None:
            self.cold.zero_()


def captured(network: Network, images: torch.Tensor) -> torch.cuda.CUDAGraph:
    """Return the network as a CUDA graph; it runs before, so that kernels are chosen and memory is there."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(CALLS_BEFORE_CAPTURE):
            network(images)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(images)
    return graph


def kernels_of_ranges(ranges: list[tuple[str, float]], names: list[str], runs: int) -> list[dict[str, object]]:
    """Turn the profiler's ranges into one list of times for each call that ran a kernel.

    Args:
        ranges: name and time on the GPU in us, in the order of execution.
        names: of the network's calls.
        runs: how often the network ran.
    """
    if [name for name, _ in ranges] != names * runs:
        raise RuntimeError("PyTorch's profiler did not report the same calls in every run")
    times = [[ranges[run * len(names) + i][1] for run in range(runs)] for i in range(len(names))]
    if not any(map(any, times)):
        raise RuntimeError("PyTorch's profiler reported no time on the GPU; may this user trace it (CUPTI)?")
    return [{"name": name, "samples_us": own} for name, own in zip(names, times) if any(own)]  # noqa: B905


def main() -> None:
    """Read requests until stdin ends."""
    parser = answering.parser(__doc__)
    parser.add_argument("--mode", choices=("graph", "eager"), default="graph")
    parser.add_argument("--dtype", choices=("fp32", "tf32"), default="fp32")
    parser.add_argument("--layout", choices=("channels_last", "contiguous"), default="channels_last")
    parser.add_argument("--l2", choices=("warm", "cold"), default="warm")
    parser.add_argument("--batch-size", type=int, default=1)
    options = parser.parse_args()
    reason = no_cuda()
    if reason:
        sys.exit(f"no CUDA device here, because {reason}; amc-hw devices lists what can be measured from here")
    answering.serve_timer(Timer(options))


if __name__ == "__main__":
    main()
