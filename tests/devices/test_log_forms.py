"""Logs as other places write them: the same table as from the log itself, or a clear refusal."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import CHANGE, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from printed_logs import print_today

from amc_hw.devices.android.benchmark_log import BenchmarkLogError
from amc_hw.errors import AmcHwError, UsageError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.mobilenet_v1 import mobilenet_v1_operators
from amc_hw.latency.table import LatencyTable
from amc_hw.profiling.import_logs import import_logs
from amc_hw.profiling.logged_files import logged_networks
from amc_hw.profiling.logged_run import LoggedRun, logged_run

OPERATORS = mobilenet_v1_operators()
TIMES_US = [700 + 37 * index for index in range(len(OPERATORS))]
KINDS = [operator.kind for operator in OPERATORS]
LOG = print_today(KINDS, TIMES_US)
EXPECTED = LoggedRun(threads=4, delegate="none", dtype="float32", batch_size=1)


def kernels(precision: str) -> list[str]:
    """The names of XNNPACK's kernels for the operators."""
    names = {
        "CONV_2D": f"Convolution (NHWC, {precision}) IGEMM",
        "DEPTHWISE_CONV_2D": f"Convolution (NHWC, {precision}) DWConv",
        "AVERAGE_POOL_2D": "Average Pooling (NHWC, F32)",
    }
    return [names.get(kind, kind) for kind in KINDS]


def read(folder: Path, content: bytes, **said: int | str) -> tuple[LatencyTable, LoggedRun]:
    file = folder / "log.txt"
    file.write_bytes(content)
    networks = logged_networks([file], [], "mobilenet_v1", None)
    run = logged_run(networks, **said)
    parts = {"processor": "p", "system": "s", "runtime": "tflite", "runtime_version": "1", "cores": "0"}
    fingerprint = Fingerprint(device="d", **parts, **vars(run))
    return import_logs(networks, fingerprint, "a test"), run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def undamaged(folder: Path) -> LatencyTable:
    table, run = read(folder, LOG.encode())
    assert run == EXPECTED
    assert len(table.notes) == 1
    return table


def each_line(prefix: str) -> Callable[[str], str]:
    return lambda text: "\n".join(prefix + line for line in text.split("\n"))


def in_logcat(text: str) -> str:
    """The benchmark's lines among those of another program."""
    mark = "05-30 15:16:44.857 13380 13380 I tflite  : "
    other = "05-30 15:16:44.901  1502  1777 E ActivityManager: Failed to find package\n"
    return "--------- beginning of main\n" + "".join(f"{mark}{line}\n{other}" for line in text.split("\n"))


BLANKS: dict[str, Callable[[str], str]] = {
    "tabs": lambda text: text,
    "one blank for a tab": lambda text: text.replace("\t", " "),
    "expanded tabs": lambda text: text.expandtabs(8),
}
FORMS: dict[str, Callable[[str], str]] = {
    "bare": lambda text: text,
    "without INFO": lambda text: text.replace("INFO: ", ""),
    "logcat": in_logcat,
    "logcat -v time": each_line("05-30 15:16:44.857 I/tflite  (13380): "),
    "logcat -v brief": each_line("I/tflite  (13380): "),
    "absl": each_line("I0000 00:00:1716000000.123456   13380 benchmark_model.cc:120] "),
    "glog": each_line("I0530 15:16:44.857123 13380 benchmark_model.cc:120] "),
    "TensorFlow": each_line("2026-05-30 15:16:44.857123: I tensorflow/lite/tools/benchmark_model.cc:120] "),
    "Apple": each_line("2026-05-30 15:16:44.857123+0800 TFLiteBenchmark[3921:935759] "),
    "2018": each_line("native : benchmark_tflite_model.cc:480 "),
}
AROUND: dict[str, Callable[[str], str]] = {
    "nothing": lambda text: text,
    "GitHub Actions": each_line("2026-05-30T15:16:44.8570000Z "),
    "gh run view --log": each_line("bench\tRun on the phone\t2026-05-30T15:16:44.8570000Z "),
    "a mail": each_line("> "),
    "a clock": each_line("[2026-05-30 15:16:44.123] "),
    "syslog": each_line("May 30 15:16:44 board benchmark[812]: "),
    "colours": lambda text: re.sub(r"^(.+)$", "\x1b[1;32m\\1\x1b[0m", text, flags=re.MULTILINE),
    "a shell": lambda text: (
        f"sailfish:/ $ /data/local/tmp/benchmark_model --graph=net.tflite\n{text}\nsailfish:/ $ exit"
    ),
}
ENDS = st.sampled_from(["\n", "\r\n", "\r\r\n"])
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16, big end first": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(*(st.sampled_from(sorted(ways)) for ways in (BLANKS, FORMS, AROUND)), ENDS, st.sampled_from(sorted(ENCODINGS)))
def test_every_way_to_keep_a_log_gives_the_same_table(
    folder: Path, undamaged: LatencyTable, blanks: str, form: str, around: str, end: str, encoding: str
) -> None:
    text = AROUND[around](FORMS[form](BLANKS[blanks](LOG))).replace("\n", end)
    table, run = read(folder, ENCODINGS[encoding](text))
    assert run == EXPECTED
    assert same(table, undamaged)
    assert table.notes == undamaged.notes


def same(table: LatencyTable, other: LatencyTable) -> bool:
    return (table.entries, table.calibration) == (other.entries, other.calibration)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(BLANKS)), st.sampled_from(sorted(FORMS)), st.lists(CHANGE, min_size=1, max_size=3))
def test_a_damaged_log_gives_the_same_table_or_a_clear_error(
    folder: Path, undamaged: LatencyTable, blanks: str, form: str, changes: list[tuple[str, float, int, str]]
) -> None:
    content = FORMS[form](BLANKS[blanks](LOG)).encode()
    for change in changes:
        content = mutated(content, *change)
    try:
        table, run = read(folder, content)
    except AmcHwError as error:
        told = str(error)
    else:
        assert_same_but_for_digits(table, undamaged)
        assert run.threads == 4 or content.count(b"threads") < 2
        assert (run.delegate, run.dtype) == ("none", "float32")
        return
    assert told.endswith(".")
    assert "\n" not in told


def assert_same_but_for_digits(table: LatencyTable, undamaged: LatencyTable) -> None:
    """A last digit may be another one; an operator may not be another one, or gone, without a word."""
    due = {entry.key: entry.mean_us for entry in undamaged.entries}
    found = {entry.key: entry.mean_us for entry in table.entries}
    if len(table.notes) == 1:
        assert found.keys() == due.keys()
        assert all(abs(found[key] / due[key] - 1) < 0.02 for key in due)
    assert table.calibration[0].measured_ms == pytest.approx(undamaged.calibration[0].measured_ms, rel=1e-3)


def test_what_is_cut_wrapped_or_doubled_is_refused(folder: Path) -> None:
    """Two runs in one file, a cut table, and a terminal that broke the lines."""
    with pytest.raises(BenchmarkLogError, match=r"several runs.*split it into a file for each run"):
        read(folder, (LOG + LOG).encode())
    with pytest.raises(BenchmarkLogError, match="'Timings', 'nodes observed'"):
        read(folder, LOG[: LOG.index("[SQUEEZE]")].rsplit("\n", 1)[0].encode())
    wrapped = "\n".join(line[at : at + 80] for line in LOG.split("\n") for at in range(0, max(1, len(line)), 80))
    with pytest.raises(BenchmarkLogError, match="take the log again"):
        read(folder, wrapped.encode())


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("F32", "float32"),
        ("F16", "float16"),
        ("QC8", "int8"),
        ("QS8", "int8"),
        ("QS8, QC8W", "int8"),
        ("QU8", "uint8"),
        ("QD8, F32, QC8W", "int8-dynamic"),
        ("QDU8, F32, QC8W", "int8-dynamic"),
        ("QP8, F32, QC8W", "int8-dynamic"),
        ("PQS8, QC8W", "int8"),
        ("F32, QC8W", "float32 with int8 weights"),
        ("QD8, F32, QC4W", "float32 with int4 weights"),
        ("QP8, F32, QB4W", "float32 with int4 weights"),
        ("QS8, QC4W", "int8 with int4 weights"),
    ],
)
def test_kernels_say_their_precision_and_their_delegate(folder: Path, precision: str, dtype: str) -> None:
    content = print_today(kernels(precision), TIMES_US).encode()
    table, run = read(folder, content)
    assert (run.dtype, run.delegate) == (dtype, "xnnpack")
    assert table.fingerprint.dtype == dtype
    assert len(table.entries) == len({(o.family, o.c_in, o.c_out) for o in OPERATORS})
    with pytest.raises(UsageError, match=f"dtype=int4 contradicts the logs, which say {dtype}; leave dtype= out"):
        read(folder, content, dtype="int4")


@pytest.mark.parametrize(
    ("first", "filters", "last", "dtype"),
    [
        ("QUANTIZE", KINDS, "DEQUANTIZE", "int8"),
        ("Convert (NC)", kernels("QC8"), "Convert (NC)", "int8"),
        ("Convert (NC, F32, QS8)", kernels("QS8, QC8W"), "Convert (NC, QS8, F32)", "int8"),
    ],
)
def test_what_goes_into_int8_and_back_is_in_the_table(
    folder: Path, first: str, filters: list[str], last: str, dtype: str
) -> None:
    content = print_today([first, *filters, last], [90, *TIMES_US, 7])
    table, run = read(folder, content.encode(), dtype="int8")
    assert run.dtype == dtype
    times = {entry.family: entry.mean_us for entry in table.entries if "QUANTIZE" in entry.family}
    assert times == {"QUANTIZE 1x224x224xC,1x224x224xC": 90, "DEQUANTIZE 1xC,1xC": 7}
    assert len(table.notes) == 1


def test_scales_found_while_it_runs_are_counted_with_their_filter(folder: Path) -> None:
    names, times = kernels("QDU8, F32, QC8W"), list(TIMES_US)
    names.insert(0, "Convert (NC, F32, QDU8)")
    table, run = read(folder, print_today(names, [100, *times]).encode())
    assert run.dtype == "int8-dynamic"
    first = next(entry for entry in table.entries if entry.c_in == 3)
    assert first.mean_us == 100 + TIMES_US[0]
    assert len(table.notes) == 1


def test_kernels_of_two_precisions_are_no_table(folder: Path) -> None:
    mixed = [*kernels("QC8")[:-5], *kernels("F32")[-5:]]
    with pytest.raises(BenchmarkLogError, match="kernels of float32 and int8, and a table holds one precision"):
        read(folder, print_today(mixed, TIMES_US).encode())


def test_what_a_log_says_outranks_defaults_and_contradictions_are_refused(folder: Path) -> None:
    content = print_today(KINDS, TIMES_US, threads=2, delegate="XNNPACK").encode()
    assert read(folder, content)[1] == LoggedRun(2, "xnnpack", "float32", 1)
    assert read(folder, content, threads=2, delegate="xnnpack")[1].threads == 2
    with pytest.raises(UsageError, match="threads=1 contradicts the logs, which say 2; leave threads= out"):
        read(folder, content, threads=1)
    with pytest.raises(UsageError, match="delegate=none contradicts the logs, which say xnnpack"):
        read(folder, content, delegate="none")
    unsaid = print_today(KINDS, TIMES_US, threads=-1).encode()
    assert read(folder, unsaid)[1].threads == 1
    assert read(folder, unsaid, threads=4)[1].threads == 4


def test_a_quantised_network_is_never_taken_for_float(folder: Path) -> None:
    content = print_today(KINDS, TIMES_US, graph="mobilenet_v1_1.0_224_quant.tflite").encode()
    with pytest.raises(UsageError, match="say dtype=int8"):
        read(folder, content)
    assert read(folder, content, dtype="uint8")[1].dtype == "uint8"


def test_another_mobilenet_is_not_taken_for_the_full_one(folder: Path) -> None:
    for graph in ("mobilenet_v1_0.5_224.tflite", "mobilenet_v1_1.0_128.tflite"):
        with pytest.raises(UsageError, match="not of the full MobileNetV1"):
            read(folder, print_today(KINDS, TIMES_US, graph=graph).encode())
    shape = LOG.replace("INFO: Enable op", "INFO: Input shapes: [1,128,128,3]\nINFO: Enable op")
    with pytest.raises(UsageError, match=r"its input was \(1, 128, 128, 3\)"):
        read(folder, shape.encode())


def test_a_delegate_as_one_node_is_told_which_build_or_flag_shows_more(folder: Path) -> None:
    with pytest.raises(BenchmarkLogError, match=r"one node of 2950 ms.*TensorFlow 2\.10.*--use_xnnpack=false"):
        read(folder, print_today(["TfLiteXNNPackDelegate", "SQUEEZE"], [2_950_000, 20]).encode())
    with pytest.raises(BenchmarkLogError, match="never shows them; log the processor instead"):
        read(folder, print_today(["TfLiteGpuDelegateV2", "SQUEEZE"], [2_950_000, 20]).encode())


def tflite_file(*layers: tuple[str, str]) -> bytes:
    """A file of fully connected layers with these types of activations and weights."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    import flatbuffers

    graph, code = schema.SubGraphT(), schema.OperatorCodeT()
    graph.tensors, graph.operators = [], []

    def tensor(kind: str, shape: list[int], buffer: int) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = b"t", shape, buffer, getattr(schema.TensorType, kind)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    read = tensor(layers[0][0], [1, 8], 0) if layers else 0
    for activation, weights in layers:
        layer = schema.OperatorT()
        written = tensor(activation, [1, 8], 0)
        layer.inputs, layer.outputs = [read, tensor(weights, [8, 8], 1)], [written]
        layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        layer.builtinOptions = schema.FullyConnectedOptionsT()
        graph.operators.append(layer)
        read = written
    graph.inputs, graph.outputs = [0], [read]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    buffers = [schema.BufferT(), schema.BufferT()]
    buffers[1].data = bytes(256)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def read_with_file(folder: Path, file: bytes, kernel: str, **said: str) -> LoggedRun:
    (folder / "net.tflite").write_bytes(file)
    (folder / "net.txt").write_text(print_today([kernel], [500], graph="net.tflite"))
    return logged_run(logged_networks([folder / "net.txt"], [], str(folder / "net.tflite"), None), **said)


def test_a_file_says_its_precision_where_kernels_do_not(folder: Path) -> None:
    for types, dtype in (
        (("FLOAT32", "FLOAT32"), "float32"),
        (("INT8", "INT8"), "int8"),
        (("FLOAT32", "INT8"), "int8-dynamic"),
        (("UINT8", "UINT8"), "uint8"),
        (("INT16", "INT8"), "int16x8"),
        (("FLOAT32", "INT4"), "float32 with int4 weights"),
    ):
        assert read_with_file(folder, tflite_file(types), "FULLY_CONNECTED").dtype == dtype
    with pytest.raises(UsageError, match="computes in float32 and int8, and a table holds one precision"):
        read_with_file(folder, tflite_file(("FLOAT32", "FLOAT32"), ("INT8", "INT8")), "FULLY_CONNECTED")


def test_kernels_of_another_precision_than_the_file_are_refused(folder: Path) -> None:
    floats, whole = tflite_file(("FLOAT32", "FLOAT32")), tflite_file(("INT8", "INT8"))
    assert read_with_file(folder, floats, "Fully Connected (NC, F16) GEMM").dtype == "float16"  # XNNPACK may be told to
    assert read_with_file(folder, whole, "Fully Connected (NC, QS8, QC8W) GEMM").dtype == "int8"
    with pytest.raises(
        UsageError, match=r"kernels of float32, but the network's file is of int8; name what ran as model="
    ):
        read_with_file(folder, whole, "Fully Connected (NC, F32) GEMM")
    with pytest.raises(UsageError, match="dtype=float32 contradicts the file, which says int8"):
        read_with_file(folder, whole, "FULLY_CONNECTED", dtype="float32")
