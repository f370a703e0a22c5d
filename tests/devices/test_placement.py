"""Full delegation, a part, and nothing are told apart by the words of LiteRT's logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from amc_hw.devices.android.adb import Output
from amc_hw.devices.android.benchmark_log import BenchmarkLogError, parse_log
from amc_hw.devices.android.fallback import require_accelerated
from amc_hw.devices.android.placement import read_left, read_placement
from amc_hw.devices.base import CpuFallbackError

runtime_info = pytest.importorskip("ai_edge_litert.model_runtime_info_pb2")

REGISTERED = """\
INFO: [environment.cc:30] Creating LiteRT environment with options
INFO: [accelerator_registry.cc:54] RegisterAccelerator: ptr=0xb400007da0c8a1e0, name=NpuAccelerator
INFO: [npu_registry.cc:30] NPU accelerator registered.
INFO: [gpu_registry.cc:101] Loading GPU accelerator(libLiteRtGpuAccelerator.so).
INFO: [gpu_registry.cc:101] Loading GPU accelerator(libLiteRtClGlAccelerator.so).
"""
GPU = (
    REGISTERED
    + "INFO: [gpu_registry.cc:109] Dynamically loaded GPU accelerator(libLiteRtClGlAccelerator.so) registered.\n"
)
GPU_WHOLE = GPU + (
    "VERBOSE: Replacing 62 out of 62 node(s) with delegate (LITERT_CL) node, yielding 1 partitions "
    "for subgraph 0 (main).\n"
)
GPU_PART = GPU + (
    "ERROR: Following operations are not supported by GPU delegate:\n"
    "GATHER_ND: Operation is not supported.\n"
    "MUL: MUL requires one tensor that not less than second in all dimensions.\n"
    "DEQUANTIZE: \n"
    "58 operations will run on the GPU, and the remaining 4 operations will run on the CPU.\n"
    "VERBOSE: Replacing 58 out of 62 node(s) with delegate (LITERT_CL) node, yielding 3 partitions "
    "for subgraph 0 (main).\n"
)
GPU_NONE = REGISTERED + (
    "WARNING: [auto_registration.cc:266] GPU accelerator could not be loaded and registered.\n"
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    "VERBOSE: Replacing 62 out of 62 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for "
    "subgraph 0 (main).\n"
)
NPU_WHOLE = REGISTERED + (
    "INFO: [compiler_plugin.cc:260] Loaded plugin at: /d/libLiteRtCompilerPlugin_Qualcomm.so\n"
    "INFO: [compiler_plugin.cc:741] Partitioned subgraph<0>, selected 1166 ops, from a total of 1166 ops. "
    "resulted in 1 partitions.\n"
    "INFO: [compiled_model.cc:390] 1 compiler plugins were applied successfully: Qualcomm compiler plugin (ver 0.1.0)\n"
    "WARNING: [compiled_model.cc:394] Plugin errs: \n"
    "VERBOSE: Replacing 1 out of 1 node(s) with delegate (DispatchDelegate) node, yielding 1 partitions "
    "for subgraph 0 (main).\n"
)
NPU_PART = (
    NPU_WHOLE.replace("selected 1166 ops", "selected 1165 ops")
    .replace("resulted in 1", "resulted in 2")
    .replace("Replacing 1 out of 1", "Replacing 2 out of 3")
)
NPU_NONE = REGISTERED + (
    'WARNING: [compiled_model.cc:370] Failed to load compiler plugins: dlopen failed: library "libQnnIr.so" not found\n'
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    "VERBOSE: Replacing 470 out of 476 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 4 partitions for "
    "subgraph 0 (main).\n"
)
NPU_UNUSED = REGISTERED + (
    "INFO: [compiler_plugin.cc:741] Partitioned subgraph<0>, selected 175 ops, from a total of 175 ops. "
    "resulted in 1 partitions.\n"
    "ERROR: [dispatch_delegate.cc:107] Failed to initialize Dispatch API: ERROR: [dispatch_delegate.cc:168]\n"
    "ERROR: [dispatch_delegate.cc:122] Failed to create a dispatch delegate kernel: No usable Dispatch runtime found\n"
)
STRICT = (
    "ERROR: [benchmark_litert_model.cc:290]\n"
    "└ ERROR: [./litert/cc/litert_compiled_model.h:1961]\n"
    "└ Some ops are not accelerated. Add kLiteRtHwAcceleratorCpu to the compilation accelerator set to allow using the "
    "CPU to run those.\nERROR: Benchmarking failed.\n"
)
IN_LOGCAT = "".join(f"10-05 01:27:33.918 18209 18209 E tflite  : {line}\n" for line in GPU_PART.splitlines())


@pytest.mark.parametrize(
    ("log", "accelerator", "taken", "total", "whole"),
    [
        (GPU_WHOLE, "gpu", 62, 62, True),
        (GPU_PART, "gpu", 58, 62, False),
        (GPU_NONE, "gpu", 0, 0, False),
        (GPU_WHOLE + STRICT, "gpu", 62, 62, False),
        (NPU_WHOLE, "npu", 1166, 1166, True),
        (NPU_PART, "npu", 1165, 1166, False),
        (NPU_NONE, "npu", 0, 0, False),
        (NPU_UNUSED, "npu", 0, 0, False),
        (NPU_WHOLE, "gpu", 0, 0, False),
    ],
)
def test_what_an_accelerator_took(log: str, accelerator: str, taken: int, total: int, whole: bool) -> None:
    placement = read_placement(log.splitlines(), accelerator)
    shown = placement.taken if placement.total else 0
    assert (shown, placement.total, placement.is_whole) == (taken, total, whole)


def test_why_it_took_nothing() -> None:
    assert read_placement(GPU_NONE.splitlines(), "gpu").cause == "GPU accelerator could not be loaded and registered"
    assert read_placement(NPU_NONE.splitlines(), "npu").cause == 'library "libQnnIr.so" not found'
    assert read_placement(NPU_UNUSED.splitlines(), "npu").cause == "No usable Dispatch runtime found"


def details(accelerator: str = "LITERT_CL") -> bytes:
    """Of CONV_2D, MEAN and RESHAPE, what takes the first two."""
    message = runtime_info.ModelRuntimeDetails()
    graph = message.subgraphs.add()
    for number, name in enumerate(("CONV_2D", "MEAN", "RESHAPE")):
        graph.edges.add(id=number, name=f"net/{name.lower()}")
        graph.nodes.add(id=number, name=name, outputs=[number])
    for name, replaced in ((accelerator, [0, 1]), ("TfLiteXNNPackDelegate", [2])):
        node = graph.nodes.add(id=len(graph.nodes), name=name)
        node.delegate_node_details.delegate_name = name
        node.delegate_node_details.tflite_node_ids_replaced.extend(replaced)
    return bytes(message.SerializeToString())


def test_operators_that_are_left_are_named() -> None:
    assert read_left(details(), "gpu") == ["RESHAPE (net/reshape)"]
    assert read_left(details("DispatchDelegate"), "npu") == ["RESHAPE (net/reshape)"]
    assert len(read_left(details(), "npu")) == 3
    with pytest.raises(BenchmarkLogError, match="damaged"):
        read_left(b"\xff\xff", "gpu")


def held(log: str, accelerator: str, status: int, info: bytes | None = None) -> None:
    require_accelerated(Output("INFO: STARTING!\n", log, status), accelerator, Path("net.tflite"), lambda: info)


def test_a_part_on_the_processor_is_an_error_with_the_operators() -> None:
    held(GPU_WHOLE, "gpu", 0)
    held(NPU_WHOLE, "npu", 0)
    with pytest.raises(CpuFallbackError, match=r"took 58 of 62 operators of net.tflite and left .*RESHAPE") as error:
        held(GPU_PART + STRICT, "gpu", 1, details())
    assert "GATHER_ND: Operation is not supported, MUL: MUL requires one" in str(error.value)
    assert ", DEQUANTIZE;" in str(error.value)
    with pytest.raises(CpuFallbackError, match=r"took 58 of 62 operators .*it says GATHER_ND: Operation is not"):
        held(IN_LOGCAT, "gpu", 0)
    with pytest.raises(CpuFallbackError, match=r"took 1165 of 1166 operators .*left to the processor: RESHAPE"):
        held(NPU_PART, "npu", 0, details("DispatchDelegate"))


def test_nothing_on_the_accelerator_is_an_error_with_the_cause() -> None:
    with pytest.raises(CpuFallbackError, match=r"took no operator of net.tflite \(GPU accelerator could not be loaded"):
        held(GPU_NONE, "gpu", 0)
    with pytest.raises(CpuFallbackError, match=r'npu took no operator .*"libQnnIr.so" not found.*AMC_HW_NPU_LIBRARIES'):
        held(NPU_NONE + STRICT, "npu", 1)
    with pytest.raises(CpuFallbackError, match=r"nothing says that the gpu took net\.tflite"):
        held("", "gpu", 0)


def test_other_failures_are_not_taken_for_it() -> None:
    held("ERROR: [benchmark_litert_model.cc:275] Failed to load model.\nERROR: Benchmarking failed.\n", "gpu", 1)
    held("", "gpu", 137)


PHASES = (
    "INFO: Running benchmark for at least 100 iterations and at least 0 seconds but terminate if exceeding 9 seconds.\n"
    "INFO: count=100 first=9100 curr=8080 min=8060 max=9100 avg=8090.4 std=104 p5=8062 median=8079 p95=8101\n\n"
    "INFO: Running benchmark for at least 200 iterations and at least 0 seconds but terminate if exceeding 9 seconds.\n"
    "INFO: count=200 first=8070 curr=8066 min=8055 max=8310 avg=8080.25 std=21 p5=8057 median=8066 p95=8102\n\n"
)
RESULTS = (
    "INFO: [benchmark_litert_model.h:91] \n========== BENCHMARK RESULTS ==========\n"
    "INFO: [benchmark_litert_model.h:94] Model initialization: 16.60 ms\n"
    "INFO: [benchmark_litert_model.h:96] Warmup (first):       9.10 ms\n"
    "INFO: [benchmark_litert_model.h:98] Warmup (avg):         8.09 ms (100 runs)\n"
    "INFO: [benchmark_litert_model.h:100] Inference (avg):      8.08 ms (200 runs)\n"
    "INFO: [benchmark_litert_model.h:104] Inference (min):      8.06 ms\n"
    "INFO: [benchmark_litert_model.h:138] ======================================\n\n"
)


def test_a_log_of_litert_is_read() -> None:
    log = parse_log(PHASES, stderr=GPU_WHOLE + RESULTS, warmup_runs=100, runs=200)
    assert (log.inference_avg_us, log.warmup_avg_us, log.first_inference_us) == (8080.25, 8090.4, 9100)
    assert (log.delegate, log.litert) == ("GPU", True)
    assert parse_log(PHASES, stderr=NPU_WHOLE + RESULTS).delegate == "NPU"
    assert parse_log(PHASES, stderr="INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n" + RESULTS).delegate == (
        "XNNPACK"
    )
    with pytest.raises(BenchmarkLogError, match=r"4 of 62 operators ran on the CPU instead of GPU \(GATHER_ND"):
        parse_log(PHASES, stderr=GPU_PART + RESULTS)


@pytest.mark.parametrize(
    ("old", "new"),
    [("8.08 ms (200 runs)", "8.18 ms (200 runs)"), ("8.09 ms (100 runs)", "8.09 ms (99 runs)")],
)
def test_results_of_other_runs_are_refused(old: str, new: str) -> None:
    assert old in RESULTS
    with pytest.raises(BenchmarkLogError, match="other results than those of"):
        parse_log(PHASES, stderr=RESULTS.replace(old, new))
    with pytest.raises(BenchmarkLogError, match=r"no line 'Inference \(avg\)'"):
        parse_log(PHASES, stderr=RESULTS.replace("Inference (avg)", "Inference"))
