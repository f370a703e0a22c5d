#!/usr/bin/env python3
"""Times TFLite models, and the kernels inside them, with LiteRT on the machine this program runs on.

Needs numpy and ai_edge_litert, nothing else. answering.py has the way requests come; this program takes

    {"do": "describe"}
    {"do": "time_model",   "file": "m.tflite", "warmup": 100, "runs": 200}   -> {"samples_us": [...]}
    {"do": "time_kernels", "file": "m.tflite", "warmup": 3, "runs": 10}
        -> {"kernels": [{"name": "Add (ND)", "samples_us": [...]}, ...], "samples_us": [...]}

usage: python -P time_litert.py [--threads N] [--seed S]
"""

from __future__ import annotations

import ctypes
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
import answering

try:
    import ai_edge_litert
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
except ImportError as error:
    sys.exit(f"{error.name} is not installed for {sys.executable}; install it there with: pip install {error.name}")

Pointer = ctypes.c_void_p

# Kernel events that LiteRT's profiler reports (litert/c/litert_profiler_event.h).
INVOCATION_EVENT = 1  # comes before the kernels of its run
OPERATOR_EVENT = 2
DELEGATE_KERNEL_EVENT = 8
HOST_MEMORY_ALIGNMENT = 64


class Layout(ctypes.Structure):
    """LiteRtLayout: seven bits of rank and one bit has_strides, then eight dimensions and eight strides."""

    _fields_ = (("rank", ctypes.c_uint32), ("dims", ctypes.c_int32 * 8), ("strides", ctypes.c_uint32 * 8))


class RankedTensorType(ctypes.Structure):
    """LiteRtRankedTensorType."""

    _fields_ = (("element_type", ctypes.c_int), ("layout", Layout))


class Event(ctypes.Structure):
    """ProfiledEventData; a memory usage is three 64-bit numbers in the released library."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("node", ctypes.c_uint64),
        ("metadata", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class LiteRt:
    """The few calls of LiteRT's C interface that the profiler needs."""

    def __init__(self) -> None:
        folder = Path(ai_edge_litert.__file__).parent
        self.library = ctypes.CDLL(str(folder / "libLiteRt.so"))
        self.libc = ctypes.CDLL(None)
        self.libc.strdup.restype = Pointer
        self.environment = Pointer()
        self.call("LiteRtCreateEnvironment", 0, None, ctypes.byref(self.environment))

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the library; raise RuntimeError with its status unless that is 0."""
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name} failed with LiteRT status {status}")

    def add_options(self, options: Pointer, identifier: bytes, toml: bytes) -> None:
        """Attach options of one part of the runtime, given as TOML; the library frees the text."""
        text = Pointer(self.libc.strdup(toml))
        opaque = Pointer()
        free = ctypes.cast(self.libc.free, Pointer)
        self.call("LiteRtCreateOpaqueOptions", ctypes.c_char_p(identifier), text, free, ctypes.byref(opaque))
        self.call("LiteRtAddOpaqueOptions", options, opaque)


class ProfiledModel:
    """A compiled model whose profiler reports every kernel that XNNPACK or the interpreter runs."""

    def __init__(self, litert: LiteRt, file: str, threads: int, random: np.random.Generator) -> None:
        self.litert = litert
        self.memory: list[np.ndarray] = []
        self.buffers: list[Pointer] = []
        self.model, self.options, self.compiled = Pointer(), Pointer(), Pointer()
        call = litert.call
        call("LiteRtCreateModelFromFile", litert.environment, file.encode(), ctypes.byref(self.model))
        try:
            call("LiteRtCreateOptions", ctypes.byref(self.options))
            call("LiteRtSetOptionsHardwareAccelerators", self.options, 1)  # 1: the CPU
            litert.add_options(self.options, b"xnnpack", b"num_threads = %d\n" % threads)
            litert.add_options(self.options, b"runtime_options_string", b"enable_profiling = true\n")
            call(
                "LiteRtCreateCompiledModel",
                litert.environment,
                self.model,
                self.options,
                ctypes.byref(self.compiled),
            )
            self.profiler = Pointer()
            call("LiteRtCompiledModelGetProfiler", self.compiled, ctypes.byref(self.profiler))
            inputs, outputs = counts_of_signature(file)
            self.inputs = self.tensor_buffers(inputs, "Input", random)
            self.outputs = self.tensor_buffers(outputs, "Output", random)
        except RuntimeError:
            self.close()
            raise

    def tensor_buffers(self, element_types: list[int], kind: str, random: np.random.Generator) -> ctypes.Array:
        """Host memory, filled with small random numbers, for every input or output."""
        count = len(element_types)
        layouts = (Layout * count)()
        zero = ctypes.c_size_t(0)
        if kind == "Input":
            for i in range(count):
                call = "LiteRtGetCompiledModelInputTensorLayout"
                self.litert.call(call, self.compiled, zero, ctypes.c_size_t(i), ctypes.byref(layouts[i]))
        else:
            call = "LiteRtGetCompiledModelOutputTensorLayouts"
            self.litert.call(call, self.compiled, zero, ctypes.c_size_t(count), layouts, ctypes.c_bool(False))
        handles = []
        for i, element_type in enumerate(element_types):
            requirements, size = Pointer(), ctypes.c_size_t()
            call = f"LiteRtGetCompiledModel{kind}BufferRequirements"
            self.litert.call(call, self.compiled, zero, ctypes.c_size_t(i), ctypes.byref(requirements))
            call = "LiteRtGetTensorBufferRequirementsBufferSize"
            self.litert.call(call, requirements, ctypes.byref(size))
            memory = np.zeros(size.value + 2 * HOST_MEMORY_ALIGNMENT, np.uint8)
            start = -memory.ctypes.data % HOST_MEMORY_ALIGNMENT
            if element_type == 1:  # float32
                floats = memory[start : start + size.value // 4 * 4].view(np.float32)
                floats[:] = random.random(floats.size, np.float32)
            self.memory.append(memory)
            tensor_type = RankedTensorType(element_type, layouts[i])
            buffer = Pointer()
            self.litert.call(
                "LiteRtCreateTensorBufferFromHostMemory",
                ctypes.byref(tensor_type),
                Pointer(memory.ctypes.data + start),
                size,
                None,
                ctypes.byref(buffer),
            )
            self.buffers.append(buffer)
            handles.append(buffer.value)
        return (Pointer * count)(*handles)

    def run(self) -> None:
        """Run the model once."""
        self.litert.call(
            "LiteRtRunCompiledModel",
            self.compiled,
            ctypes.c_size_t(0),
            ctypes.c_size_t(len(self.inputs)),
            self.inputs,
            ctypes.c_size_t(len(self.outputs)),
            self.outputs,
        )

    def events(self, runs: int) -> list[Event]:
        """Run the model with the profiler on and return every event in order."""
        call, count = self.litert.call, ctypes.c_int()
        call("LiteRtResetProfiler", self.profiler)
        call("LiteRtStartProfiler", self.profiler)
        for _ in range(runs):
            self.run()
        call("LiteRtStopProfiler", self.profiler)
        call("LiteRtGetNumProfilerEvents", self.profiler, ctypes.byref(count))
        events = (Event * max(count.value, 1))()
        call("LiteRtGetProfilerEvents", self.profiler, count, events)
        return list(events[: count.value])

    def close(self) -> None:
        """Give everything back to the library."""
        library = self.litert.library
        for buffer in self.buffers:
            library.LiteRtDestroyTensorBuffer(buffer)
        if self.compiled:
            library.LiteRtDestroyCompiledModel(self.compiled)
        if self.options:
            library.LiteRtDestroyOptions(self.options)
        if self.model:
            library.LiteRtDestroyModel(self.model)


def counts_of_signature(file: str) -> tuple[list[int], list[int]]:
    """Element types (LiteRT's numbers are TFLite's: 1 is float32) of the inputs and of the outputs."""
    interpreter = Interpreter(file, num_threads=1, experimental_preserve_all_tensors=False)
    numbers = {np.float32: 1, np.int32: 2, np.uint8: 3, np.int64: 4, np.int8: 9}
    return (
        [numbers[detail["dtype"]] for detail in interpreter.get_input_details()],
        [numbers[detail["dtype"]] for detail in interpreter.get_output_details()],
    )


def kernels_of_runs(events: list[Event], runs: int) -> tuple[list[dict[str, object]], list[int]]:
    """Group the events of several runs by kernel, in the order of execution, and return whole runs beside.

    A delegate's kernels and the interpreter's own operators are reported; the interpreter's node that
    stands for a whole delegate is left out, because its kernels are there one by one.
    """
    invocations: list[list[tuple[str, float]]] = []
    totals: list[int] = []
    for event in events:
        name = (event.tag or b"").decode(errors="replace")
        if event.type == INVOCATION_EVENT and name == "Invoke":
            totals.append(event.elapsed_us)
            invocations.append([])
        elif event.type == DELEGATE_KERNEL_EVENT or (event.type == OPERATOR_EVENT and "Delegate" not in name):
            # The runtime cuts times to whole microseconds; half of one makes up for what is lost on average.
            invocations[-1].append((name, event.elapsed_us + 0.5))
    names = [name for name, _ in invocations[0]] if invocations else []
    if len(invocations) != runs or any([name for name, _ in run] != names for run in invocations):
        raise RuntimeError("the runtime's profiler did not report the same kernels in every run")
    kernels = [{"name": name, "samples_us": [run[i][1] for run in invocations]} for i, name in enumerate(names)]
    return kernels, totals


class Timer:
    """Answers requests; every model is loaded for its request and let go again."""

    def __init__(self, threads: int, seed: int) -> None:
        self.threads = threads
        self.random = np.random.default_rng(seed)
        self.cores = answering.hold_to_cores(threads)
        self.litert: LiteRt | None = None

    def describe(self, request: dict[str, object]) -> dict[str, object]:
        """What this machine and its runtime are."""
        return {
            **answering.machine(),
            "runtime": "litert",
            "runtime_version": version("ai-edge-litert"),
            "delegate": "xnnpack",
            "cores": self.cores,
        }

    def time_model(self, request: dict[str, object]) -> dict[str, object]:
        """Wall-clock time of every run of a whole model, as an application would see it."""
        interpreter = Interpreter(str(request["file"]), num_threads=self.threads)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            values = self.random.random(detail["shape"], np.float32)
            interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
        invoke, clock = interpreter.invoke, time.perf_counter_ns
        for _ in range(int(str(request["warmup"]))):
            invoke()
        samples = []
        for _ in range(int(str(request["runs"]))):
            start = clock()
            invoke()
            samples.append((clock() - start) / 1e3)
        return {"samples_us": samples}

    def time_kernels(self, request: dict[str, object]) -> dict[str, object]:
        """Time of every kernel inside the running model."""
        self.litert = self.litert or LiteRt()
        runs = int(str(request["runs"]))
        model = ProfiledModel(self.litert, str(request["file"]), self.threads, self.random)
        try:
            for _ in range(int(str(request["warmup"]))):
                model.run()
            kernels, totals = kernels_of_runs(model.events(runs), runs)
        finally:
            model.close()
        return {"kernels": kernels, "samples_us": totals}


def main() -> None:
    """Read requests until stdin ends."""
    parser = answering.parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    answering.serve_timer(Timer(options.threads, options.seed))


if __name__ == "__main__":
    main()
