"""Tables from logs of benchmark_model: today's, 2019's and 2018's prints, csv and proto."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from amc_hw.devices.android.benchmark_log import BenchmarkLog, OperatorTime, Statistics, parse_log
from amc_hw.errors import DeviceError, TableError, UsageError
from amc_hw.latency.families import sizes
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.merge import merge
from amc_hw.latency.mobilenet_v1 import CHANNELS, STRIDES, mobilenet_v1_operators
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.table import LatencyTable
from amc_hw.profiling.import_logs import LoggedNetwork, import_logs
from amc_hw.profiling.logged_files import logged_networks
from amc_hw.profiling.logged_run import logged_run

PHONE = Fingerprint(
    device="phone",
    processor="p",
    system="s",
    runtime="tflite",
    runtime_version="1",
    threads=1,
    cores="0",
    delegate="none",
)
NARROW = [round(c * 0.75) for c in CHANNELS]
ODD = [24, 48, 96, 80, 192, 200, 328, 352, 368, 360, 328, 400, 736, 752]


def time_us(operator: Operator) -> float:
    """A phone on which operators of one kind cost alike."""
    size = sizes(operator.family, operator.c_in, operator.c_out)
    return round(2 + size.macs / 6e3 + size.inputs / 1e3 + size.outputs / 2e3 + size.weights / 500)


def log_of(operators: list[Operator], factor: float = 1.0, seen: slice = slice(None)) -> BenchmarkLog:
    rows = tuple(
        OperatorTime(o.kind, f"op{i}", factor * time_us(o), 1) for i, o in enumerate(operators) if o.kind != "PAD"
    )[seen]
    total = sum(row.avg_us for row in rows)
    statistics = Statistics(200, int(total), int(total), int(total), int(total), total, 0.0)
    return BenchmarkLog(None, statistics, None, None, None, total, rows)


def network(name: str, channels: list[int] | tuple[int, ...]) -> LoggedNetwork:
    operators = mobilenet_v1_operators(channels)
    return LoggedNetwork(name, operators, [log_of(operators, factor) for factor in (1.0, 1.01, 0.99)])


def test_left_out_networks_are_predicted_and_the_errors_kept(tmp_path: Path) -> None:
    networks = [network("full", CHANNELS), network("narrow", NARROW), network("odd", ODD)]
    table = import_logs(networks, PHONE, "a test")
    (error,) = table.errors.values()
    assert set(error.left_out) == {"full", "narrow", "odd"}
    assert error.worst == max(map(abs, error.left_out.values())) < 0.02
    assert error.networks == 3
    assert any("a test" in note and "9 logs" in note for note in table.notes)
    for logged in networks:
        assert Predictor(table).network_ms(logged.operators) == pytest.approx(logged.measured_ms, rel=0.01)
    first = next(entry for entry in table.entries if entry.c_in == 3 and entry.c_out == 32)
    assert (first.count, first.median_us) == (3, pytest.approx(time_us(networks[0].operators[0])))


def test_what_is_odd_about_a_log_is_noted_once() -> None:
    logged = network("full", CHANNELS)
    odd = [replace(log, problems=("operators add up to half of a run.",)) for log in logged.logs]
    table = import_logs([replace(logged, logs=odd)], PHONE, "a test")
    assert table.notes[1:] == ["a log of full: operators add up to half of a run."]


def test_repeats_that_differ_too_much_are_marked() -> None:
    operators = mobilenet_v1_operators()
    logged = LoggedNetwork("net", operators, [log_of(operators), log_of(operators, 1.3)])
    table = import_logs([logged], PHONE, "a test")
    assert all(entry.unstable for entry in table.entries if entry.mean_us > 30)
    assert not any(entry.unstable for entry in import_logs([network("n", CHANNELS)], PHONE, "t").entries)
    assert table.errors == {}


def test_a_log_of_another_network_is_refused() -> None:
    operators = mobilenet_v1_operators()
    short = LoggedNetwork("short", operators, [log_of(operators, seen=slice(0, 20))])
    with pytest.raises(TableError, match="not of that network"):
        import_logs([short], PHONE, "a test")
    unprofiled = LoggedNetwork("bare", operators, [log_of(operators, seen=slice(0, 0))])
    with pytest.raises(TableError, match="--enable_op_profiling"):
        import_logs([unprofiled], PHONE, "a test")


def test_fused_operators_have_no_entry() -> None:
    conv = mobilenet_v1_operators()[0]
    pad = Operator("PAD", (), ((1, 224, 224, 3),), ((1, 226, 226, 3),))
    table = import_logs([LoggedNetwork("n", [pad, conv], [log_of([pad, conv])])], PHONE, "a test")
    assert [entry.family for entry in table.entries] == [conv.family]


def print_2018(operators: list[Operator], slower_us: int = 0) -> str:
    """The print of 2018's benchmark_model."""
    times = [max(1.0, time_us(operator)) + slower_us for operator in operators]
    total, cumulated, start = sum(times), 0.0, 0.0
    mark = "native : stat_summarizer.cc:358 "
    statistics = f"count=200 first={total:.0f} curr={total:.0f} min={total:.0f} max={total:.0f} avg={total:.0f} std=0"
    lines = []
    for running in (100, 200):
        lines += [f"{mark}Running benchmark for {running} iterations with detailed stat logging:"]
        lines += [mark + statistics.replace("count=200", f"count={running}"), ""]
    lines += [f"{mark}Average inference timings in us: Warmup: {total:.0f}, no stats: {total:.0f}"]
    lines += [f"{mark}Number of nodes executed: {len(times)}", f"{mark}{'=' * 30} Run Order {'=' * 30}"]
    columns = ("node type", "start", "first", "avg ms", "%", "cdf%", "mem KB", "times called", "Name")
    lines += ["\t" + "\t".join(f"[{name}]" for name in columns)]
    for index, (operator, time) in enumerate(zip(operators, times, strict=True)):
        percent = 100 * time / total
        cumulated += percent
        row = (operator.kind, start / 1e3, time / 1e3, time / 1e3)
        cells = [row[0], *(f"{value:.3f}" for value in row[1:]), f"{percent:.3f}%", f"{cumulated:.3f}%", "0.000", "1"]
        lines += ["\t" + "\t".join([*cells, f"[op{index}]"])]
        start += time
    lines += ["", f"Timings (microseconds): {statistics.replace('count=200', 'count=300')}", "Memory (bytes): count=0"]
    return "\n".join([*lines, f"{len(times)} nodes observed", ""])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    variants = {"net": CHANNELS, "net_narrow": NARROW}
    for name, channels in variants.items():
        operators = mobilenet_v1_operators(channels, softmax=name == "net")
        for run in (1, 2):
            (tmp_path / f"{name}_run{run}.txt").write_text(print_2018(operators, run))
    described = {name: {"stem": int(c[0]), "blocks": [int(x) for x in c[1:]]} for name, c in variants.items()}
    (tmp_path / "channels.json").write_text(json.dumps({"about": "a test", "strides": STRIDES, "models": described}))
    return tmp_path


def test_log_files_find_their_network_by_name(folder: Path) -> None:
    logs = sorted(folder.glob("*.txt"))
    networks = logged_networks(logs, [], "mobilenet_v1", folder / "channels.json")
    assert {n.name: len(n.logs) for n in networks} == {"net": 2, "net_narrow": 2}
    by_name = {n.name: n for n in networks}
    assert by_name["net"].operators[-1].kind == "SOFTMAX"
    assert by_name["net_narrow"].operators[-1].kind == "SQUEEZE"
    assert by_name["net_narrow"].operators[0].c_out == 24
    assert logged_run(networks).delegate == "none"
    assert set(import_logs(networks, PHONE, "t").calibration[0].model_dump()) >= {"operators_ms", "measured_ms"}


def test_a_log_counts_once(folder: Path) -> None:
    (folder / "net_copy.txt").write_bytes((folder / "net_run1.txt").read_bytes())
    logs = [folder / name for name in ("net_run1.txt", "net_run2.txt", "net_copy.txt")]
    with pytest.raises(UsageError, match=r"net_copy\.txt is the same log as .*net_run1\.txt; give each run's log once"):
        logged_networks(logs, [], "mobilenet_v1", folder / "channels.json")


def test_tables_of_some_of_the_same_logs_count_no_log_twice(folder: Path) -> None:
    def table(*runs: str) -> LatencyTable:
        logs = [folder / f"net_{run}.txt" for run in runs]
        return import_logs(logged_networks(logs, [], "mobilenet_v1", folder / "channels.json"), PHONE, "t")

    (folder / "net_run3.txt").write_text(print_2018(mobilenet_v1_operators(CHANNELS), 3))
    both, one, other = table("run1", "run2"), table("run2"), table("run3")
    assert merge({"a": both, "b": one}).entries == merge({"b": one, "a": both}).entries == both.entries
    joined = merge({"a": both, "c": other})
    assert [entry.count for entry in joined.entries] == [3 * entry.count // 2 for entry in both.entries]
    assert merge({"ac": joined, "c": other}) == joined


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "resnet18"}, r"\.tflite"),
        ({"model": "gone.tflite", "channels": None}, r"gone\.tflite"),
        ({"profiles": ["net_run1.txt"] * 2}, "one for each"),
        ({"channels": "gone.json"}, r"gone\.json"),
        ({"channels": "net_run1.txt"}, "no JSON"),
        ({"logs": ["channels.json"]}, "which network"),
    ],
)
def test_wrong_use_names_the_cure(folder: Path, change: dict, says: str) -> None:
    given = {"logs": ["net_run1.txt"], "profiles": [], "model": "mobilenet_v1", "channels": "channels.json", **change}
    with pytest.raises(UsageError, match=says):
        logged_networks(
            [folder / name for name in given["logs"]],
            [folder / name for name in given["profiles"]],
            given["model"],
            folder / given["channels"] if given["channels"] else None,
        )


def test_a_tflite_file_without_litert_names_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "amc_hw.formats.tflite.graph", raising=False)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    (folder / "net.tflite").write_bytes(b"TFL3")
    with pytest.raises(DeviceError, match="pip install ai-edge-litert"):
        logged_networks([folder / "net_run1.txt"], [], str(folder / "net.tflite"), None)


def test_a_channels_file_with_an_impossible_count_is_refused(folder: Path) -> None:
    bad = {"models": {"net": {"stem": 0, "blocks": [8] * 13}}}
    (folder / "bad.json").write_text(json.dumps(bad))
    with pytest.raises(UsageError, match=r"models\.net\.stem"):
        logged_networks([folder / "net_run1.txt"], [], "mobilenet_v1", folder / "bad.json")
    (folder / "bad.json").write_text(json.dumps({"models": {"net": {"stem": 8, "blocks": [8] * 12}}}))
    with pytest.raises(UsageError, match="12 blocks for 13 strides"):
        logged_networks([folder / "net_run1.txt"], [], "mobilenet_v1", folder / "bad.json")


def test_a_damaged_log_is_named(folder: Path) -> None:
    log = folder / "net_run1.txt"
    log.write_text(log.read_text().replace("nodes observed", ""))
    with pytest.raises(Exception, match=r"net_run1\.txt"):
        logged_networks([log], [], "mobilenet_v1", folder / "channels.json")


def test_the_print_is_what_the_parser_reads() -> None:
    operators = mobilenet_v1_operators()
    read = parse_log(print_2018(operators))
    assert [o.type for o in read.operators] == [o.kind for o in operators]
