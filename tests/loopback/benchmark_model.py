"""Stands in for TFLite's benchmark_model on the loopback phone: its flags, its words, times really measured.

Follows tflite/tools/benchmark of google-ai-edge/LiteRT. What this machine cannot do (GPU, NNAPI), it does
not do in the same way as the original: with a warning, and then on the CPU.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The runtime writes to file descriptor 1, too; the original's log has it on stderr.
LOG = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
# `ps` shows the name of the file that was pushed, not Python's.
ctypes.CDLL(None).prctl(15, Path(sys.orig_argv[0]).name.encode()[:15])

import numpy as np  # noqa: E402
import time_litert  # noqa: E402
from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: E402
from op_profile import Profile, Stat  # noqa: E402

# flag -> (default, what the log calls it)
FLAGS: dict[str, tuple[Any, str]] = {
    "num_runs": (50, "Min num runs"),
    "min_secs": (1.0, "Min runs duration (seconds)"),
    "max_secs": (150.0, "Max runs duration (seconds)"),
    "run_delay": (-1.0, "Inter-run delay (seconds)"),
    "num_threads": (-1, "Num threads"),
    "warmup_runs": (1, "Min warmup runs"),
    "warmup_min_secs": (0.5, "Min warmup runs duration (seconds)"),
    "verbose": (False, ""),
    "report_peak_memory_footprint": (False, "Report the peak memory footprint"),
    "graph": ("", "Graph"),
    "require_full_delegation": (False, "Require full delegation"),
    "enable_op_profiling": (False, "Enable op profiling"),
    "op_profiling_output_mode": ("stdout", "Op profiling output mode."),
    "op_profiling_output_file": ("", "Op profiling output file."),
    "max_profiling_buffer_entries": (1024, "Max initial profiling buffer entries"),
    "use_gpu": (False, "Use gpu"),
    "use_nnapi": (False, "Use NNAPI"),
    "use_xnnpack": (None, "Use xnnpack"),
}
APPLIED = "Explicitly applied XNNPACK delegate, and the model graph will be"
PROFILES = (
    "Profiling Info for Benchmark Initialization:",
    "Operator-wise Profiling Info for Regular Benchmark Runs:",
)


class BenchmarkError(Exception):
    """The benchmark failed; the reasons were logged."""


def info(text: str) -> None:
    print(f"INFO: {text}", file=LOG)


def warn(text: str) -> None:
    print(f"WARN: {text}", file=LOG)


def failed(text: str) -> BenchmarkError:
    print(f"ERROR: {text}", file=sys.stderr, flush=True)
    return BenchmarkError(text)


def read_flags(arguments: list[str], known: dict[str, tuple[Any, str]] = FLAGS) -> dict[str, Any]:
    """Read `--flag=value`; what is not known is only warned about."""
    flags = {name: default for name, (default, _) in known.items()}
    unconsumed, given = [], []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not (argument.startswith("--") and equals and name in known):
            unconsumed.append(argument)
            continue
        try:
            flags[name] = _value(text, known[name][0])
        except ValueError:
            raise failed(f"Failed to parse flag '{name}' against command line.") from None
        given.append(name)
    if unconsumed:
        warn("Unconsumed cmdline flags: " + " ".join(unconsumed))
    info(f"Log parameter values verbosely: [{int(flags['verbose'])}]")
    for name, (_, label) in known.items():
        if label and (name in given or flags["verbose"]):
            value = flags[name]
            info(f"{label}: [{value if isinstance(value, str) else f'{value or 0:g}'}]")
    if not flags["graph"]:
        raise failed("Please specify the name of your TF Lite input file with --graph")
    return flags


def check_flags(flags: dict[str, Any]) -> None:
    """Refuse what the tool, or this stand-in, cannot do."""
    if flags["op_profiling_output_mode"] not in ("stdout", "csv", "proto"):
        raise failed(f"Output mode{flags['op_profiling_output_mode']} is not supported.")
    if flags["enable_op_profiling"] and flags["use_xnnpack"] is False:
        raise failed("This stand-in profiles operators only with XNNPACK.")


def _value(text: str, default: Any) -> Any:
    if default is None or isinstance(default, bool):
        if text not in ("true", "1", "false", "0"):
            raise ValueError(text)
        return text in ("true", "1")
    return type(default)(text)


class PlainModel:
    """A model in the interpreter, as an application runs it."""

    def __init__(self, flags: dict[str, Any]) -> None:
        resolver = OpResolverType.BUILTIN
        if flags["use_xnnpack"] is False:
            resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        threads = max(1, flags["num_threads"])
        started = time.perf_counter_ns()
        self.interpreter = Interpreter(flags["graph"], num_threads=threads, experimental_op_resolver_type=resolver)
        loaded = time.perf_counter_ns()
        self.interpreter.allocate_tensors()
        self.setup_us = [(loaded - started) // 1000, (time.perf_counter_ns() - loaded) // 1000]
        random = np.random.default_rng(0)
        for detail in self.interpreter.get_input_details():
            values = random.random(detail["shape"], np.float32)
            self.interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))

    def is_one_kernel(self) -> bool:
        """Whether a delegate has taken the whole graph, as far as the interpreter tells."""
        delegates = [op for op in self.interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
        outputs = {detail["index"] for detail in self.interpreter.get_output_details()}
        return len(delegates) == 1 and outputs <= set(delegates[0]["outputs"].tolist())

    def run(self) -> int:
        """Run once and return the microseconds."""
        start = time.perf_counter_ns()
        self.interpreter.invoke()
        return (time.perf_counter_ns() - start) // 1000

    def profiled_run(self) -> int:
        return self.run()


class ProfiledModel(time_litert.ProfiledModel):
    """The same model, with LiteRT's profiler."""

    def __init__(self, flags: dict[str, Any], plain: PlainModel) -> None:
        random = np.random.default_rng(0)
        super().__init__(time_litert.LiteRt(), flags["graph"], max(1, flags["num_threads"]), random)
        self.profile = Profile()
        self.elapsed_us = 0
        tensors = {detail["index"]: detail["name"] for detail in plain.interpreter.get_tensor_details()}
        self.outputs_of = {
            op["index"]: ", ".join(tensors.get(int(i), "Unknown") for i in op["outputs"])
            for op in plain.interpreter._get_ops_details()
        }

    def run(self) -> int:  # type: ignore[override]
        start = time.perf_counter_ns()
        super().run()
        self.elapsed_us = (time.perf_counter_ns() - start) // 1000
        return self.elapsed_us

    def profiled_run(self) -> int:
        rows = []
        for event in self.events(1):
            tag = (event.tag or b"").decode()
            if event.type == time_litert.DELEGATE_KERNEL_EVENT:
                rows.append((tag, f"Delegate/{tag}:{event.node}", event.elapsed_us))
            elif event.type == time_litert.OPERATOR_EVENT and "Delegate" not in tag:
                rows.append((tag, f"[{self.outputs_of.get(event.node, '')}]:{event.node}", event.elapsed_us))
        self.profile.add_run(rows)
        return self.elapsed_us


def apply_delegates(flags: dict[str, Any], model: PlainModel) -> None:
    """Say which delegates run the model; those that this machine lacks are left out with a warning."""
    for flag, name in (("use_gpu", "GPU"), ("use_nnapi", "NNAPI")):
        if flags[flag]:
            warn(f"{name} acceleration is unsupported on this platform.")
    whole = model.is_one_kernel()
    if flags["require_full_delegation"] and not (flags["use_xnnpack"] and whole):
        raise failed("Disallowed CPU fallback detected.")
    if flags["use_xnnpack"] and whole:
        info(f"{APPLIED} completely executed by the delegate.")
    elif flags["use_xnnpack"]:
        info(f"{APPLIED} partially executed by the delegate.")


@dataclass
class Phase:
    """Runs of one kind: at least so many and so long, but no longer than max_secs."""

    run: Callable[[], int]
    times: Stat = field(default_factory=Stat)

    def go(self, runs: int, min_secs: float, max_secs: float, delay: float) -> Stat:
        info(
            f"Running benchmark for at least {runs} iterations and at least {min_secs:g} seconds but "
            f"terminate if exceeding {max_secs:g} seconds."
        )
        start = now = time.monotonic()
        while (len(self.times.values) < runs or now < start + min_secs) and now <= start + max_secs:
            self.times.values.append(self.run())
            time.sleep(max(0, delay))
            now = time.monotonic()
        info(self.times.text(percentiles=True) + "\n")
        return self.times


def write_profile(flags: dict[str, Any], setup_us: list[int], regular: Profile) -> None:
    """Write both profiles, of the start and of the regular runs, in the form and to the place asked for."""
    start, mode = Profile(), flags["op_profiling_output_mode"]
    names = ("ModifyGraphWithDelegate", "AllocateTensors")
    start.add_run([(name, f"{name}/0", us) for name, us in zip(names, setup_us, strict=True)])
    path = flags["op_profiling_output_file"]
    try:
        file = Path(path).open("wb") if path else None  # noqa: SIM115 - one way of several
    except OSError:
        file = None
    if mode == "proto":
        from ai_edge_litert.profiling_info_pb2 import BenchmarkProfilingData

        message = BenchmarkProfilingData(model_name=flags["graph"])
        start.fill(message.init_profile)
        regular.fill(message.runtime_profile)
        content, text = message.SerializeToString(), str(message)
    else:
        both = zip(PROFILES, (start, regular), strict=True)
        parts = [f"{title}\n{profile.text(mode == 'csv')}" for title, profile in both]
        content, text = "\n".join(parts).encode(), "\n\nINFO: ".join(parts)
    if file:
        with file:
            file.write(content)
    else:
        info(text)


def benchmark(arguments: list[str]) -> None:
    flags = read_flags(arguments)
    check_flags(flags)
    graph = Path(flags["graph"])
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if not graph.is_file():
        print(f"ERROR: Could not open '{graph}'.", file=sys.stderr)
        raise failed(f"Failed to load model {graph}")
    info(f"#threads used for CPU inference: [{flags['num_threads']}]")
    started = time.perf_counter_ns()
    try:
        plain = PlainModel(flags)
        model = ProfiledModel(flags, plain) if flags["enable_op_profiling"] else plain
    except (ValueError, RuntimeError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        raise failed(f"Failed to load model {graph}") from error
    info(f"Loaded model {graph}")
    apply_delegates(flags, plain)
    init_us = (time.perf_counter_ns() - started) // 1000
    init_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
    info(f"The input model file size (MB): {graph.stat().st_size / 1e6:g}")
    info(f"Initialized session in {init_us / 1e3:g}ms.")
    limits = flags["max_secs"], flags["run_delay"]
    warmup = Phase(model.run).go(flags["warmup_runs"], flags["warmup_min_secs"], *limits)
    regular = Phase(model.profiled_run).go(flags["num_runs"], flags["min_secs"], *limits)
    first = warmup.values[0] if warmup.values else 0
    info(
        f"Inference timings in us: Init: {init_us}, First inference: {first}, "
        f"Warmup (avg): {warmup.average():g}, Inference (avg): {regular.average():g}"
    )
    overall_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
    info(
        "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to "
        "the actual memory footprint of the model at runtime. Take the information at your discretion."
    )
    footprint = f"init={init_kb / 1024:g} overall={overall_kb / 1024:g}"
    info(f"Memory footprint delta from the start of the tool (MB): {footprint}")
    if isinstance(model, ProfiledModel):
        write_profile(flags, plain.setup_us, model.profile)


def main(run: Callable[[list[str]], None] = benchmark) -> int:
    info("STARTING!")
    try:
        run(sys.argv[1:])
    except BenchmarkError:
        failed("Benchmarking failed.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
