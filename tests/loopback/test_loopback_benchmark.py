"""The stand-in for benchmark_model prints what the real one prints, with times that were really measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import amc_hw
from loopback_phone import benchmark_on

from amc_hw.devices.android.benchmark_log import BenchmarkLog, BenchmarkLogError, parse_log
from amc_hw.latency.read_table import load_table

FILE = "/data/local/tmp/profile"


@pytest.fixture
def benchmark(phone: Any, small_model: Path) -> Any:
    """Run the benchmark on the phone with more flags; returns the daemon's answer."""
    return benchmark_on(phone, phone.benchmark_model, small_model, "small model.tflite")


def read(answer: dict[str, Any], profile: str | bytes | None = None) -> BenchmarkLog:
    assert answer["status"] == 0, answer["stderr"]
    return parse_log(answer["stdout"], stderr=answer["stderr"], profile=profile, warmup_runs=5, runs=20)


def test_whole_network(benchmark: Any) -> None:
    log = read(benchmark("--use_xnnpack=true"))
    assert log.warmup is not None
    assert (log.warmup.count, log.regular.count, log.delegate) == (5, 20, "XNNPACK")
    assert log.regular.median_us is not None
    assert log.regular.median_us < 100_000


@pytest.mark.parametrize("mode", ["stdout", "csv", "proto"])
def test_operators_in_every_mode(benchmark: Any, phone: Any, mode: str) -> None:
    where = "" if mode == "stdout" else f"--op_profiling_output_file={FILE}"
    answer = benchmark(f"--enable_op_profiling=true --op_profiling_output_mode={mode} {where}")
    profile = None if mode == "stdout" else (phone.folder / FILE[1:]).read_bytes()
    log = read(answer, profile.decode() if profile and mode == "csv" else profile)
    assert [operator.type.split(" (")[0] for operator in log.operators] == ["Convolution", "Mean"]
    assert 0 < sum(operator.avg_us for operator in log.operators) <= log.inference_avg_us


@pytest.mark.parametrize("mode", ["stdout", "csv", "proto"])
def test_a_table_is_made_from_its_logs(
    benchmark: Any, phone: Any, small_model: Path, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "" if mode == "stdout" else f"--op_profiling_output_file={FILE}"
    answer = benchmark(f"--enable_op_profiling=true --op_profiling_output_mode={mode} {where}")
    log, table = tmp_path / "run 1.txt", tmp_path / "table.json"
    log.write_text(answer["stdout"] + answer["stderr"])
    profile = [] if mode == "stdout" else ["--profile", phone.folder / FILE[1:]]
    options = ("--model", small_model, "--device-name", "Loopback", "--out", table)
    assert amc_hw("table", "import", log, *options, *profile) == 0
    assert "2 entries" in capsys.readouterr().out
    made = load_table(table)
    assert [(entry.c_in, entry.c_out) for entry in made.entries] == [(8, 16), (16, 16)]
    assert made.fingerprint.delegate == "xnnpack"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--use_cpu=true", "does not know the flags '--use_cpu=true'"),
        ("--use_gpu=true", "ran without GPU"),
        ("--num_runs=100000 --max_secs=0.2", "of 100000 regular runs"),
        ("--graph=none.tflite", "Failed to load model none.tflite|Could not open"),
        ("--num_runs=many", "Failed to parse flag 'num_runs'"),
    ],
)
def test_its_failures_are_the_originals(benchmark: Any, flags: str, reason: str) -> None:
    answer = benchmark(flags)
    with pytest.raises(BenchmarkLogError, match=reason):
        parse_log(answer["stdout"], stderr=answer["stderr"])
