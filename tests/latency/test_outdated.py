"""Tables that were measured in wrong files are read, and say that they are not to be trusted."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.merge import merge
from amc_hw.latency.outdated import outdated
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.latency.shipped_tables import shipped_table
from amc_hw.latency.table import CalibrationNetwork, Entry, LatencyTable
from amc_hw.latency.trust import warnings
from amc_hw.profiling.measure import METHOD

CONV = "CONV_2D 1x8x8xC,1x8x8xC k=1x1 s=1 pad=same"


def saved(path: Path, number: int = 1, runtime: str = "litert", method: str = METHOD, threads: int = 1) -> Path:
    fingerprint = Fingerprint(
        device="d", processor="p", system="s", runtime=runtime, runtime_version="1", threads=threads, cores="0",
        delegate="xnnpack",
    )  # fmt: skip
    table = LatencyTable(fingerprint=fingerprint, created="2026-01-01", method=method)
    table.add([Entry.of(CONV, 8, 8, [10.0] * 8)])
    networks = ("resnet20", "my nets/net.py:make")
    table.calibration = [
        CalibrationNetwork(structure="abc", model=model, operators_ms=1.0, measured_ms=1.0) for model in networks
    ]
    table.format = 2 if number == 2 else 1
    table.save(path)
    return path


def test_a_table_of_format_1_says_how_to_measure_it_again(tmp_path: Path) -> None:
    path = saved(tmp_path / "old tables.json", threads=2)
    (doubt,) = outdated(load_table(path).notes)
    assert "wrong bias shapes" in doubt
    commands = [shlex.split(command) for command in doubt.split("measure it again: ")[1].split(" && ")]
    assert commands == [
        ["mv", str(path), f"{path}.old"],
        ["amc-hw", "profile", "--device", "host:threads=2", "--model", "resnet20", "--table", str(path)],
        ["amc-hw", "profile", "--device", "host:threads=2", "--model", "my nets/net.py:make", "--table", str(path)],
    ]


def test_the_doubt_travels_with_copies_and_joined_tables_and_is_warned_of(tmp_path: Path) -> None:
    old = load_table(saved(tmp_path / "old.json"))
    old.save(tmp_path / "copy.json")
    assert outdated(load_table(tmp_path / "copy.json").notes) == outdated(old.notes)
    joined = merge({"new": load_table(saved(tmp_path / "new.json", 2)), "old": old})
    joined.save(tmp_path / "joined.json")
    assert outdated(load_table(tmp_path / "joined.json").notes) == outdated(old.notes)
    assert outdated(old.notes)[0] in warnings(Predictor(old), [])


@pytest.mark.parametrize(
    "about", [{"number": 2}, {"runtime": "onnxruntime"}, {"method": "timed by benchmark_model's own profiler"}]
)
def test_tables_that_were_not_measured_in_such_files_are_not_doubted(about: dict, tmp_path: Path) -> None:
    table = load_table(saved(tmp_path / "table.json", **about))
    assert table.notes == []
    table.save(tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text())["format"] == 2


def test_of_the_shipped_tables_the_one_from_logs_is_sound() -> None:
    path = shipped_table("pixel1")
    assert path is not None
    assert outdated(load_table(path).notes) == []
