"""Stands in for LiteRT's benchmark_model on the loopback phone: its flags, its words, times really measured.

Follows litert/tools/benchmark_litert_model of google-ai-edge/LiteRT, and logs of it on phones. A file `gpu` or `npu`
in /mnt/loopback/accelerator gives the phone one: its words are the operators that it leaves to the processor.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benchmark_model as tflite
from op_profile import Profile, Stat

SHARED = ("num_runs", "min_secs", "max_secs", "run_delay", "num_threads", "warmup_runs", "warmup_min_secs", "verbose")
FLAGS: dict[str, tuple[Any, str]] = {
    **{name: tflite.FLAGS[name] for name in (*SHARED, "report_peak_memory_footprint")},
    "run_frequency": (-1.0, "Number of prorated runs per second"),
    "use_caching": (False, "Use caching"),
    "benchmark_name": ("", "Benchmark name"),
    "output_prefix": ("", "Output prefix"),
    "dry_run": (False, "Run w/o invoking kernels"),
    "memory_footprint_check_interval_ms": (50, "Memory footprint check interval (ms)"),
    "gpu_invoke_loop_times": (1, ""),
    "graph": ("", ""),
    "signature_to_run_for": ("", ""),
    "use_cpu": (True, ""),
    "use_gpu": (False, ""),
    "use_npu": (False, ""),
    "dispatch_library_path": ("", ""),
    "compiler_plugin_library_path": ("", ""),
    "compiler_cache_path": ("", ""),
    "require_full_delegation": (False, ""),
    "use_profiler": (False, ""),
    "enable_perfetto": (False, ""),
    "gpu_backend": ("", ""),
    "allow_fp16": (True, ""),
    "gpu_low_priority": (False, ""),
    "result_file_path": ("", ""),
    "model_runtime_info_output_file": ("", ""),
    "mediatek_nerun_pilot_version": ("version8", ""),
}
DELEGATES = {"gpu": "LITERT_CL", "npu": "DispatchDelegate", "cpu": "TfLiteXNNPackDelegate"}


def log(place: str, text: str, level: str = "INFO") -> None:
    """LiteRT's own log, which goes to stderr."""
    print(f"{level}: [{place}] {text}", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """What the TFLite runtime inside of it, or a delegate, prints."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Graph:
    """The operators of the file: name, tensors that they write."""

    operators: list[tuple[str, list[int]]]
    tensors: dict[int, str]

    @classmethod
    def of(cls, model: tflite.PlainModel) -> Graph:
        details = model.interpreter._get_ops_details()
        tensors = {detail["index"]: detail["name"] for detail in model.interpreter.get_tensor_details()}
        return cls([(op["op_name"], [int(i) for i in op["outputs"]]) for op in details], tensors)

    def replaced(self, taken: list[bool]) -> str:
        """`Replacing 1 out of 2 node(s) with delegate (`, but for the name."""
        return f"VERBOSE: Replacing {sum(taken)} out of {len(taken)} node(s) with delegate"


def taken_by_gpu(graph: Graph) -> list[bool]:
    """Say what the GPU takes; a phone without one says that, too."""
    state = Path("/mnt/loopback/accelerator/gpu")
    for name in ("Gpu", "ClGl"):
        log("gpu_registry.cc:101", f"Loading GPU accelerator(libLiteRt{name}Accelerator.so).")
    if not state.exists():
        log("gpu_registry.cc:131", "GPU accelerator could not be loaded and registered.", "WARNING")
        return [False] * len(graph.operators)
    log("gpu_registry.cc:149", "Statically linked GPU accelerator registered.")
    left = state.read_text().split()
    taken = [name not in left for name, _ in graph.operators]
    if not all(taken):
        say("ERROR: Following operations are not supported by GPU delegate:")
        for name in sorted({name for name, _ in graph.operators} & set(left)):
            say(f"{name}: Operation is not supported.")
        rest = f"and the remaining {len(taken) - sum(taken)} operations will run on the CPU."
        say(f"{sum(taken)} operations will run on the GPU, {rest}")
    if any(taken):
        say(f"{graph.replaced(taken)} (LITERT_CL) node, yielding 1 partitions for subgraph 0 (main).")
    return taken


def taken_by_npu(graph: Graph, flags: dict[str, Any]) -> list[bool]:
    """Compile for the NPU with the libraries that were pushed, and say what it takes."""
    folder, state = flags["dispatch_library_path"], Path("/mnt/loopback/accelerator/npu")
    for name in ("dispatch_library_path", "compiler_plugin_library_path", "compiler_cache_path"):
        log("benchmark_litert_model.cc:171", f"{name}: {flags[name]}")
    log("npu_registry.cc:30", "NPU accelerator registered.")
    here = sorted(file.name for file in Path(folder).glob("*.so")) if folder else []
    plugin = next((name for name in here if name.startswith("libLiteRtCompilerPlugin_")), "")
    reachable = os.environ.get("LD_LIBRARY_PATH") == os.environ.get("ADSP_LIBRARY_PATH") == folder
    if not plugin or "libQnnHtp.so" not in here or not reachable or not state.exists():
        missing = 'dlopen failed: library "libQnnHtp.so" not found' if plugin else "No compiler plugin found"
        log("compiled_model.cc:370", f"Failed to apply compiler plugins: {missing}", "WARNING")
        return [False] * len(graph.operators)
    log("compiler_plugin.cc:260", f"Loaded plugin at: {folder}/{plugin}")
    left = state.read_text().split()
    taken = [name not in left for name, _ in graph.operators]
    islands = sum(now and not before for before, now in zip([False, *taken], taken, strict=False))
    counts = f"selected {sum(taken)} ops, from a total of {len(taken)} ops. resulted in {islands} partitions."
    log("compiler_plugin.cc:741", f"Partitioned subgraph<0>, {counts}")
    log("compiled_model.cc:390", "1 compiler plugins were applied successfully: Qualcomm compiler plugin")
    nodes = [True] * islands + [False] * (len(taken) - sum(taken))
    say(f"{graph.replaced(nodes)} (DispatchDelegate) node, yielding {len(nodes)} partitions for subgraph 0 (main).")
    return taken


def write_details(file: str, graph: Graph, taken: list[bool], accelerator: str) -> None:
    """Write what runs where, as tflite/profiling/model_runtime_info does."""
    from ai_edge_litert.model_runtime_info_pb2 import ModelRuntimeDetails

    message = ModelRuntimeDetails()
    part = message.subgraphs.add(subgraph_id=0, name="main")
    for index, name in graph.tensors.items():
        part.edges.add(id=index, name=name)
    parts = {"cpu": [i for i, by in enumerate(taken) if not by], accelerator: [i for i, by in enumerate(taken) if by]}
    for number, (name, outputs) in enumerate(graph.operators):
        part.nodes.add(id=number, name=name, outputs=outputs, delegated_to_node_id=len(taken) + (not taken[number]))
    for name, ids in parts.items():
        if ids:
            node = part.nodes.add(id=len(part.nodes), name=DELEGATES[name])
            node.delegate_node_details.delegate_name = DELEGATES[name]
            node.delegate_node_details.tflite_node_ids_replaced.extend(ids)
    Path(file).write_bytes(message.SerializeToString())


class LitertProfile(Profile):
    """The profile with what LiteRT does around the operators."""

    def add_run(self, events: list[tuple[str, str, int]]) -> None:
        names = ("LiteRT::Run[buffer registration]", "LiteRT::Run[Buffer sync]")
        before, after = ([(name, f"{name}/0", us)] for name, us in zip(names, (14, 12), strict=True))
        super().add_run([*before, *events, *after])


def results(init_us: int, warmup: Stat, regular: Stat) -> None:
    at = "benchmark_litert_model.h"
    log(f"{at}:91", "\n========== BENCHMARK RESULTS ==========")
    log(f"{at}:94", f"Model initialization: {init_us / 1e3:.2f} ms")
    log(f"{at}:96", f"Warmup (first):       {(warmup.values or [0])[0] / 1e3:.2f} ms")
    log(f"{at}:98", f"Warmup (avg):         {warmup.average() / 1e3:.2f} ms ({len(warmup.values)} runs)")
    log(f"{at}:100", f"Inference (avg):      {regular.average() / 1e3:.2f} ms ({len(regular.values)} runs)")
    log(f"{at}:104", f"Inference (min):      {min(regular.values or [0]) / 1e3:.2f} ms")
    log(f"{at}:135", "Peak memory usage not available. (peak_mem_mb <= 0)")
    log(f"{at}:138", "======================================\n")


def benchmark(arguments: list[str]) -> None:
    flags = tflite.read_flags(arguments, FLAGS)
    file = Path(flags["graph"])
    log("benchmark_litert_model.cc:271", f"Loading model from: {file}")
    started = time.perf_counter_ns()
    if flags["use_cpu"] and flags["require_full_delegation"]:
        log(
            "benchmark_litert_model.cc:80", "Requesting full delegation and CPU acceleration are incompatible.", "ERROR"
        )
        os.abort()
    if not file.is_file():
        log("benchmark_litert_model.cc:275", "Failed to load model.", "ERROR")
        raise tflite.BenchmarkError
    log("environment.cc:30", "Creating LiteRT environment with options")
    graph = Graph.of(tflite.PlainModel({**flags, "use_xnnpack": False}))
    accelerator = "npu" if flags["use_npu"] else "gpu" if flags["use_gpu"] else "cpu"
    taken = [True] * len(graph.operators)
    if accelerator == "gpu":
        taken = taken_by_gpu(graph)
    elif accelerator == "npu":
        taken = taken_by_npu(graph, flags)
    if not all(taken) and not flags["use_cpu"]:
        allow = "Add kLiteRtHwAcceleratorCpu to the compilation accelerator set to allow using the CPU to run those."
        log(
            "benchmark_litert_model.cc:290",
            f"Failed to compile model.\n└ Some ops are not accelerated. {allow}",
            "ERROR",
        )
        raise tflite.BenchmarkError
    plain = tflite.PlainModel({**flags, "use_xnnpack": True})
    if accelerator == "cpu" or not all(taken):
        nodes = [True] * taken.count(False) if accelerator != "cpu" else taken
        say(f"{graph.replaced(nodes)} (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0 (main).")
    model = tflite.ProfiledModel(flags, plain) if flags["use_profiler"] else plain
    if isinstance(model, tflite.ProfiledModel):
        model.profile = LitertProfile()
    init_us = (time.perf_counter_ns() - started) // 1000
    tflite.info(f"The input model file size (MB): {file.stat().st_size / 1e6:g}")
    tflite.info(f"Initialized session in {init_us / 1e3:g}ms.")
    if flags["model_runtime_info_output_file"]:
        write_details(flags["model_runtime_info_output_file"], graph, taken, accelerator)
    if flags["dry_run"]:
        flags |= {"warmup_runs": 0, "warmup_min_secs": -1.0, "num_runs": 0, "min_secs": -1.0}
    limits = flags["max_secs"], flags["run_delay"]
    warmup = tflite.Phase(model.profiled_run).go(flags["warmup_runs"], flags["warmup_min_secs"], *limits)
    regular = tflite.Phase(model.profiled_run).go(flags["num_runs"], flags["min_secs"], *limits)
    results(init_us, warmup, regular)
    if isinstance(model, tflite.ProfiledModel):
        log("benchmark_litert_model.h:191", f"\n{model.profile.text(csv=False)}")


if __name__ == "__main__":
    sys.exit(tflite.main(benchmark))
