"""The benchmark of which networks can be pruned: its table and its resuming, and a run of two networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from amc_hw.tracing.groups import trace

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PROVEN = {
    "network": "own:a",
    "outcome": "proven",
    "why": "",
    "input": [3, 64, 64],
    "layers": 9,
    "left_alone": {"it is the network's output": 1, "no rule for 'a.1' (Norm)": 2, "no rule for 'a.2' (Norm)": 1},
    "difference": 1.23e-7,
    "trace_s": 0.5,
    "ours": 0.251,
    "theirs": 0.25,
    "theirs_why": "",
}
REFUSED = {"network": "timm:b", "outcome": "refused", "why": "a | b", "theirs": 0.5, "theirs_why": ""}
WRONG = {"network": "timm:c", "outcome": "wrong", "why": "7 MACs", "theirs": None, "theirs_why": "IndexError: 3"}
ABSENT = {"network": "smp:d", "outcome": "not installed", "why": "smp is missing"}


def test_a_row_says_what_is_left_and_why(benchmark: Any) -> None:
    lines = benchmark("coverage_table").table([PROVEN, REFUSED, WRONG]).splitlines()
    assert lines[2] == "| own:a | 3x64x64 | proven | 4 of 9 | 0.25 | 0.25 | 1e-07 | 3: no rule for Norm |"
    assert lines[3] == "| timm:b |  | refused |  |  | 0.50 |  | a / b |"
    assert lines[4].endswith("| 7 MACs. Torch-Pruning: IndexError: 3 |")
    assert {line.count("|") for line in lines} == {9}


def test_files_have_a_column_where_they_were_written(benchmark: Any) -> None:
    lines = benchmark("coverage_table").table([{**PROVEN, "files": {"tflite": "alike"}}, REFUSED]).splitlines()
    assert "| tflite alike |" in lines[2]
    assert {line.count("|") for line in lines} == {10}


def test_the_summary_leaves_out_what_is_not_installed(benchmark: Any) -> None:
    text = benchmark("coverage_table").summary([PROVEN, REFUSED, WRONG, ABSENT])
    assert "proven: 1 of 3 (33.3%); silently wrong: 1; refused: 1; not installed: 1." in text
    assert "fewer 0, equal 1, more 0; ours alone runs 0, Torch-Pruning's alone 1, neither 1." in text


@pytest.mark.parametrize(
    ("ours", "theirs", "how"), [(0.3, 0.31, "fewer"), (0.31, 0.3, "more"), (0.3, None, "ours alone")]
)
def test_how_a_network_stands(benchmark: Any, ours: float, theirs: float | None, how: str) -> None:
    assert benchmark("coverage_table").standing({"ours": ours, "theirs": theirs}) == how


def test_a_line_that_a_kill_cut_off_is_done_again(benchmark: Any, tmp_path: Path) -> None:
    coverage, file = benchmark("coverage"), tmp_path / "new" / "results.jsonl"
    coverage.append_result(file, PROVEN)
    with file.open("a") as end:
        end.write('{"network": "timm:b", "outc')
    assert list(coverage.read_results(file)) == ["own:a"]
    coverage.append_result(file, REFUSED)
    done = coverage.read_results(file)
    assert done == {"own:a": PROVEN, "timm:b": REFUSED}
    assert coverage.lacking(["own:a", "timm:b", "timm:c"], done, again=False) == ["timm:c"]
    assert coverage.lacking(["own:a", "timm:b", "timm:c"], done, again=True) == ["timm:b", "timm:c"]


def test_what_was_proven_before_a_process_was_ended_stays(benchmark: Any) -> None:
    stopped = benchmark("coverage").stopped
    known = {"network": "own:a", "outcome": "proven", "why": "", "trace_s": 1, "groups": 2}
    assert stopped(known, "time limit", "60 s") == {**known, "theirs": None, "theirs_why": "60 s"}
    assert stopped({**known, "theirs_why": ""}, "time limit", "60 s")["files"] == "60 s"
    assert stopped({**known, "outcome": "crash"}, "time limit", "60 s")["outcome"] == "time limit"


def test_a_network_that_is_cut_wrongly_is_found(benchmark: Any) -> None:
    row = benchmark("coverage_row")
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)).eval()
    network = trace(model, torch.rand(1, 3, 8, 8))
    kept = row.half(network)
    assert row.check(model, network, kept, torch.rand(1, 3, 8, 8)) <= row.TOLERANCE
    model[1].register_forward_hook(lambda module, inputs, output: output * module.in_channels)
    with pytest.raises(row.Wrong, match="outputs differ"):
        row.check(model, network, kept, torch.rand(1, 3, 8, 8))
    with pytest.raises(row.Wrong, match="does not run"):
        row.check(model, network, {"0": [0, 8]}, torch.rand(1, 3, 8, 8))


def test_two_networks_are_run(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    networks = ["own:ds_cnn", "own:bc_resnet"]
    command = [sys.executable, BENCHMARKS / "coverage.py", "--out", out, "--networks", *networks]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Traced and proven: 2 of 2 (100.0%); silently wrong: 0." in done.stdout
    assert sorted(json.loads(line)["network"] for line in out.read_text().splitlines()) == sorted(networks)
