"""A table that stands for a device out of reach: it says in which precision it can be searched for."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import TINY, amc_hw

from amc_hw.devices.computers.names import KINDS
from amc_hw.devices.table_only import open_or_predict, require_device
from amc_hw.errors import TableError, UsageError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.table import LatencyTable
from amc_hw.policy import DTYPES, PRECISIONS

PARTS = {"processor": "p", "system": "s", "runtime_version": "1", "threads": 1, "cores": "0", "delegate": "none"}


def table_of(folder: Path, dtype: str, runtime: str = "tflite") -> Path:
    fingerprint = Fingerprint(device="board", runtime=runtime, dtype=dtype, **PARTS)
    path = folder / "board.json"
    LatencyTable(fingerprint=fingerprint, created="2026-01-01", method="made up").save(path)
    return path


@pytest.mark.parametrize(
    ("precision", "dtype", "runtime"),
    [
        *((precision, DTYPES[precision], "tflite") for precision in PRECISIONS["tflite"]),
        *((precision, DTYPES[precision], "torch (graph)") for precision in KINDS["cuda"].precisions),
        ("fp32", "tfloat32", "torch (graph)"),
    ],
)
def test_a_table_has_the_precision_that_it_says(precision: str, dtype: str, runtime: str, tmp_path: Path) -> None:
    table = table_of(tmp_path, dtype, runtime)
    assert open_or_predict("board", table, precision).precision == precision
    other = "int8" if precision == "fp32" else "fp32"
    for refuse in (open_or_predict, require_device):
        with pytest.raises(UsageError, match=f"is of {precision}, not {other}; add precision={precision}"):
            refuse("board", table, other)


@pytest.mark.parametrize(
    ("dtype", "runtime"),
    [
        *((dtype, "tflite") for dtype in ("uint8", "bfloat16", "float32 with int4 weights")),
        ("int8", "torch (graph)"),
        ("float16", "onnxruntime"),
    ],
)
def test_a_table_of_files_that_are_not_written_here_is_not_taken_for_fp32(
    dtype: str, runtime: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_of(tmp_path, dtype, runtime)
    with pytest.raises(TableError, match=f"of {dtype}, in which no file is written here; make one of a network in"):
        open_or_predict("board", table)
    task = ("--model", TINY, "--data", "digits", "--device", "board", "--table", table, "--run", tmp_path / "run")
    assert amc_hw("search", *task) == 2
    assert f"the table of 'board' is of {dtype}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
