"""The stand-in for LiteRT's benchmark_model knows its flags and prints its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import amc_hw
from loopback_phone import benchmark_on

from amc_hw.devices.android.benchmark_log import BenchmarkLogError, parse_log
from amc_hw.devices.android.litert import litert_flags, look_flags
from amc_hw.latency.read_table import load_table


@pytest.fixture
def benchmark(phone: Any, small_model: Path) -> Any:
    """Run the benchmark on the phone with more flags; returns the daemon's answer."""
    return benchmark_on(phone, phone.litert_benchmark_model, small_model, "small.tflite")


def test_our_flags_are_its_flags_and_no_others(phone: Any, benchmark: Any) -> None:
    phone.set_accelerator("gpu", "")
    for flags in (litert_flags("xnnpack", profiled=True), litert_flags("gpu"), look_flags("gpu", "/data/info")):
        answer = benchmark(" ".join(flags))
        assert answer["status"] == 0, answer["stderr"]
        assert "Unconsumed" not in answer["stdout"]
    for flags in (litert_flags("npu", libraries="/data/none"), look_flags("npu", "/data/info", "/data/none")):
        assert "Unconsumed" not in benchmark(" ".join(flags))["stdout"]
    for other in ("--use_xnnpack=true", "--use_nnapi=true", "--enable_op_profiling=true"):
        answer = benchmark(other)
        with pytest.raises(BenchmarkLogError, match=f"does not know the flags '{other}'"):
            parse_log(answer["stdout"], stderr=answer["stderr"])


def test_a_table_is_made_from_its_log(
    benchmark: Any, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = benchmark("--use_profiler=true")
    log, table = tmp_path / "run 1.txt", tmp_path / "table.json"
    log.write_text(answer["stdout"] + answer["stderr"])
    options = ("--model", small_model, "--device-name", "Loopback", "--out", table)
    assert amc_hw("table", "import", log, *options) == 0
    assert "2 entries" in capsys.readouterr().out
    made = load_table(table).fingerprint
    assert (made.delegate, made.runtime) == ("xnnpack", "litert benchmark_model")
