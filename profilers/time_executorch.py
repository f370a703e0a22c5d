#!/usr/bin/env python3
"""Times ExecuTorch programs, and the kernels inside them, on the machine this program runs on.

Needs numpy and executorch (which brings torch), nothing else. answering.py has the way requests come; this program
takes

    {"do": "describe"}
    {"do": "time_model",   "file": "m.pte", "warmup": 100, "runs": 200}   -> {"samples_us": [...]}
    {"do": "time_kernels", "file": "m.pte", "warmup": 3, "runs": 10}
        -> {"kernels": [{"name": "0 Add (ND) #1", "samples_us": [...]}, ...], "samples_us": [...]}

A kernel's name begins with the place of its call among the program's instructions.

usage: python -P time_executorch.py [--threads N] [--seed S]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
import answering

try:
    import executorch.extension.pybindings.portable_lib as runtime
    import numpy as np
    import torch
    from executorch.runtime import Runtime
except ImportError as error:
    package = str(error.name).partition(".")[0]
    sys.exit(f"{package} is not installed for {sys.executable}; install it there with: pip install {package}")

METHOD = "forward"
EXECUTE = "Method::execute"
WRAPPERS = (EXECUTE, "DELEGATE_CALL", "OPERATOR_CALL", "Program::load_method", "Method::init")
"""Events that stand around others."""
TYPES = {1: torch.int8, 3: torch.int32, 4: torch.int64, 6: torch.float32}
"""ExecuTorch's numbers of the types that an input may have."""


class Loaded:
    """A program in memory with random inputs.

    Args:
        file: the program.
        random: draws the inputs.
        traced: whether it records its events.
    """

    def __init__(self, file: str, random: np.random.Generator, traced: bool = False) -> None:
        content = Path(file).read_bytes()
        self.program = Runtime.get().load_program(content, enable_etdump=traced)
        self.method = self.program.load_method(METHOD)
        about = self.method.metadata
        self.inputs = []
        for place in range(about.num_inputs()):
            entry = about.input_tensor_meta(place)
            values = torch.from_numpy(random.random(tuple(entry.sizes()), np.float32))
            if entry.dtype() not in TYPES:
                raise RuntimeError(f"input {place} has the type {entry.dtype()}, which is none of {sorted(TYPES)}")
            self.inputs.append(values.to(TYPES[entry.dtype()]))

    def run(self) -> None:
        """Run the program once."""
        self.method.execute(self.inputs)

    def events(self) -> list[list[dict]]:
        """Return the events of every run so far, in their order."""
        with tempfile.TemporaryDirectory(prefix="amc-hw-") as folder:
            dump = Path(folder) / "trace.etdp"
            self.program.write_etdump_result_to_file(str(dump), str(Path(folder) / "nothing.bin"))
            if not dump.is_file():
                raise RuntimeError(
                    "this build of executorch records no events; it can be benchmarked, but has no table"
                )
            home = Path(runtime.__file__).parents[2]
            schema = home / "devtools" / "etdump" / "etdump_schema_flatcc.fbs"
            options = ["--json", "--strict-json", "--defaults-json", "--size-prefixed"]
            compiler = [str(home / "data" / "bin" / "flatc"), *options, "-o", folder, str(schema), "--", str(dump)]
            subprocess.run(compiler, check=True, capture_output=True)
            told = json.loads(dump.with_suffix(".json").read_text())
        runs = [
            [each["profile_event"] for each in run["events"] if "profile_event" in each] for run in told["run_data"]
        ]
        return [events for events in runs if any(event.get("name") == EXECUTE for event in events)]


def kernels_of_runs(runs: list[list[dict]]) -> tuple[list[dict], list[float]]:
    """Group the events of several runs by kernel, in the order of execution, and return whole runs beside.

    A delegate's own kernels are reported one by one, others where no delegate runs; what stands around them is not.
    """
    kernels = [[named(event) for event in run if is_kernel(event)] for run in runs]
    totals = [elapsed_us(event) for run in runs for event in run if event.get("name") == EXECUTE]
    names = [name for name, _ in kernels[0]] if kernels else []
    if not names or any([name for name, _ in run] != names for run in kernels):
        raise RuntimeError("ExecuTorch did not report the same kernels in every run")
    return [{"name": name, "samples_us": [run[i][1] for run in kernels]} for i, name in enumerate(names)], totals


def is_kernel(event: dict) -> bool:
    """Tell whether an event is of one kernel."""
    return bool(event.get("delegate_debug_id_str")) or event.get("name") not in WRAPPERS


def named(event: dict) -> tuple[str, float]:
    """Return a kernel's name and its time."""
    inside = event.get("delegate_debug_id_str")
    # XNNPACK cuts times to whole microseconds; half of one makes up for what is lost on average.
    return f"{event['instruction_id']} {inside or event['name']}", elapsed_us(event) + (0.5 if inside else 0.0)


def elapsed_us(event: dict) -> float:
    """Return how long an event took; its clock counts nanoseconds."""
    return (event["end_time"] - event["start_time"]) / 1e3


class Timer:
    """Answers requests; every program is loaded for its request and let go again."""

    def __init__(self, threads: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.cores = answering.hold_to_cores(threads)
        runtime._unsafe_reset_threadpool(threads)
        torch.set_num_threads(1)

    def describe(self, request: dict[str, object]) -> dict[str, object]:
        """What this machine and its runtime are."""
        return {
            **answering.machine(),
            "runtime": "executorch",
            "runtime_version": version("executorch"),
            "delegate": "xnnpack",
            "cores": self.cores,
        }

    def time_model(self, request: dict[str, object]) -> dict[str, object]:
        """Wall-clock time of every run of a whole model, as an application would see it."""
        run, clock = Loaded(str(request["file"]), self.random).run, time.perf_counter_ns
        for _ in range(int(str(request["warmup"]))):
            run()
        samples = []
        for _ in range(int(str(request["runs"]))):
            start = clock()
            run()
            samples.append((clock() - start) / 1e3)
        return {"samples_us": samples}

    def time_kernels(self, request: dict[str, object]) -> dict[str, object]:
        """Time of every kernel inside the running model."""
        loaded, warmup = Loaded(str(request["file"]), self.random, traced=True), int(str(request["warmup"]))
        for _ in range(warmup + int(str(request["runs"]))):
            loaded.run()
        kernels, totals = kernels_of_runs(loaded.events()[warmup:])
        return {"kernels": kernels, "samples_us": totals}


def main() -> None:
    """Read requests until stdin ends."""
    parser = answering.parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    answering.serve_timer(Timer(options.threads, options.seed))


if __name__ == "__main__":
    main()
