#!/usr/bin/env python3
"""Times ONNX models, and the nodes inside them, with ONNX Runtime on the machine this program runs on.

Needs numpy and onnxruntime, nothing else. answering.py has the way requests come; this program takes

    {"do": "describe"}
    {"do": "time_model",   "file": "m.onnx", "warmup": 100, "runs": 200}   -> {"samples_us": [...]}
    {"do": "time_kernels", "file": "m.onnx", "warmup": 3, "runs": 10}
        -> {"kernels": [{"name": "relu_nchwc", "samples_us": [...]}, ...], "samples_us": [...]}

With a provider other than the CPU's, an answer has "on_cpu", the nodes that the provider left to the CPU.

usage: python -P time_onnx.py [--threads N] [--provider cpu|cuda|...] [--batch-size N] [--seed S]
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
import answering

try:
    import numpy as np
    import onnxruntime
except ImportError as error:
    sys.exit(f"{error.name} is not installed for {sys.executable}; install it there with: pip install {error.name}")

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}
ON_GPU = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}
"""Providers whose inputs and outputs stay in the GPU's memory while a model is timed."""

KERNEL = "_kernel_time"
CPU = "CPUExecutionProvider"
EXACT = "session.x64quantprecision"  # integer products are exact also on x86 processors that have no VNNI
OPENVINO = "OpenVINOExecutionProvider"
TELLING = (CPU, "XnnpackExecutionProvider", "DnnlExecutionProvider", "ACLExecutionProvider")
"""Providers that run node by node on the processor, so that the profile has the time of each. Others compile several
into one kernel, or only launch what runs elsewhere."""
PACKAGES = {"openvino": "onnxruntime-openvino", "qnn": "onnxruntime-qnn", "dml": "onnxruntime-directml"}
"""Packages that have a provider; the others come with onnxruntime-gpu."""


class Session:
    """A loaded model with its inputs and outputs bound."""

    def __init__(self, timer: Timer, file: str, profile: str = "", alone: bool = False) -> None:
        self.session = timer.load(file, profile, alone)
        device = ON_GPU.get(timer.provider, "cpu")
        self.binding = self.session.io_binding()
        self.inputs: list[np.ndarray] = []  # ONNX Runtime up to 1.23 reads their memory and does not keep it
        for entry in self.session.get_inputs():
            shape = [size if isinstance(size, int) else None for size in entry.shape]
            shape[:1] = [timer.batch_size] if shape and shape[0] is None else shape[:1]
            if None in shape or entry.type not in TYPES:
                raise RuntimeError(f"the input '{entry.name}' has no fixed shape, or the type {entry.type}")
            if shape and shape[0] != timer.batch_size:
                raise RuntimeError(
                    f"the file's batch size is {shape[0]}, the device's {timer.batch_size}; "
                    f"name the device with batch_size={shape[0]}"
                )
            values = timer.random.random(shape, np.float32).astype(TYPES[entry.type])
            self.inputs.append(values)
            self.binding.bind_ortvalue_input(entry.name, onnxruntime.OrtValue.ortvalue_from_numpy(values, device, 0))
        for entry in self.session.get_outputs():
            self.binding.bind_output(entry.name, device)

    def run(self) -> None:
        """Run the model once, to the end."""
        self.session.run_with_iobinding(self.binding)
        self.binding.synchronize_outputs()


class Timer:
    """Answers requests; every model is loaded for its request and let go again."""

    def __init__(self, threads: int, provider: str, batch_size: int, seed: int) -> None:
        self.threads = threads
        self.batch_size = batch_size
        self.random = np.random.default_rng(seed)
        self.provider = full_name(provider)
        self.cores = answering.hold_to_cores(threads)
        # OpenVINO takes no notice of the session's threads.
        self.options = {"num_of_threads": str(threads)} if self.provider == OPENVINO else {}

    def load(self, file: str, profile: str = "", alone: bool = False) -> onnxruntime.InferenceSession:
        """Load a model; ``alone`` refuses one of which the provider leaves anything to the CPU."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        options.add_session_config_entry(EXACT, "1")
        options.enable_profiling = bool(profile)
        if profile:
            options.profile_file_prefix = profile
        if alone:
            options.log_severity_level = 4
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers: list[object] = [(self.provider, self.options)]
        if self.provider != CPU and not alone:
            providers.append(CPU)
        session = onnxruntime.InferenceSession(file, options, providers=providers)
        if session.get_providers()[0] != self.provider:
            raise RuntimeError(f"{self.provider} could not be loaded; are its libraries installed?")
        return session

    def session_of(self, file: str) -> tuple[Session, list[str]]:
        """Load a model; return beside it the nodes that the provider leaves to the CPU, as ``operator 'name'``."""
        if self.provider == CPU:
            return Session(self, file), []
        try:
            return Session(self, file, alone=True), []
        except Exception:  # whatever is wrong with the file itself shows again below
            events = self.profiled(file, 1)
        nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(KERNEL)]
        left = [node for node in nodes if node["args"]["provider"] == CPU]
        if len(left) == len(nodes):
            raise RuntimeError(f"{self.provider} runs none of the network's operators, all of them are left to the CPU")
        named = [f"{node['args']['op_name']} '{node['name'].removesuffix(KERNEL)}'" for node in left]
        return Session(self, file), named

    def profiled(self, file: str, runs: int) -> list[dict]:
        """Run a model with the profiler on and return its events."""
        with tempfile.TemporaryDirectory(prefix="amc-hw-") as folder:
            session = Session(self, file, profile=f"{folder}/profile")
            for _ in range(runs):
                session.run()
            return json.loads(Path(session.session.end_profiling()).read_text())

    def describe(self, request: dict[str, object]) -> dict[str, object]:
        """What this machine and its runtime are."""
        about = {
            **answering.machine(),
            "runtime": "onnxruntime",
            "runtime_version": onnxruntime.__version__ + (openvino_version() if self.provider == OPENVINO else ""),
            "delegate": self.provider,
            "operator_times": self.provider in TELLING,
            "cores": self.cores,
        }
        gpu = answering.nvidia_smi("name", "driver_version") if self.provider in ON_GPU else []
        if gpu:
            about.update(processor=gpu[0], system=f"{about['system']}, driver {gpu[1]}")
        return about

    def time_model(self, request: dict[str, object]) -> dict[str, object]:
        """Wall-clock time of every run of a whole model, as an application would see it."""
        session, on_cpu = self.session_of(str(request["file"]))
        run, clock = session.run, time.perf_counter_ns
        for _ in range(int(str(request["warmup"]))):
            run()
        samples = []
        for _ in range(int(str(request["runs"]))):
            start = clock()
            run()
            samples.append((clock() - start) / 1e3)
        return {"samples_us": samples, "on_cpu": on_cpu}

    def time_kernels(self, request: dict[str, object]) -> dict[str, object]:
        """Time of every node inside the running model."""
        warmup, runs = int(str(request["warmup"])), int(str(request["runs"]))
        kernels, totals = kernels_of_runs(self.profiled(str(request["file"]), warmup + runs), warmup, runs)
        return {"kernels": kernels, "samples_us": totals}


def openvino_version() -> str:
    """Return the version of OpenVINO that the runtime brings, as `` with OpenVINO 2025.4.1``."""
    libraries = (Path(onnxruntime.__file__).parent / "capi").glob("*openvino*")
    found = sorted(version.group() for file in libraries if (version := re.search(r"[0-9]+(\.[0-9]+){2,}", file.name)))
    return f" with OpenVINO {found[-1]}" if found else ""


def full_name(provider: str) -> str:
    """Return the provider's name in ONNX Runtime; end the program where this build has none of that name."""
    available = onnxruntime.get_available_providers()
    for name in available:
        if name.lower() in (provider.lower(), f"{provider.lower()}executionprovider"):
            return name
    short = ", ".join(name.removesuffix("ExecutionProvider").lower() for name in available)
    sys.exit(
        f"the onnxruntime that is installed here has no provider '{provider}', only: {short}; others come with other "
        f"packages: pip uninstall onnxruntime && pip install {PACKAGES.get(provider.lower(), 'onnxruntime-gpu')}"
    )


def kernels_of_runs(events: list[dict], warmup: int, runs: int) -> tuple[list[dict], list[float]]:
    """Group a profile's events by run, leave the warm-up out, and return every kernel and the whole runs.

    Args:
        events: the profile; each run's nodes come before its ``model_run``.
        warmup: runs that do not count.
        runs: runs that do.
    """
    nodes: list[list[tuple[str, float]]] = [[]]
    totals: list[float] = []
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            # The runtime cuts times to whole microseconds; half of one makes up for what is lost on average.
            nodes[-1].append((event["name"].removesuffix(KERNEL), event["dur"] + 0.5))
        elif event.get("name") == "model_run":
            totals.append(event["dur"])
            nodes.append([])
    counted = nodes[warmup : warmup + runs]
    names = [name for name, _ in counted[0]] if counted else []
    if len(totals) != warmup + runs or not names or any([name for name, _ in run] != names for run in counted):
        raise RuntimeError("ONNX Runtime's profiler did not report the same nodes in every run")
    kernels = [{"name": name, "samples_us": [run[i][1] for run in counted]} for i, name in enumerate(names)]
    return kernels, totals[warmup:]


def main() -> None:
    """Read requests until stdin ends."""
    parser = answering.parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--batch-size", type=int, default=1)
    options = parser.parse_args()
    answering.serve_timer(Timer(options.threads, options.provider, options.batch_size, options.seed))


if __name__ == "__main__":
    main()
