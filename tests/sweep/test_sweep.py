"""Several budgets in one folder: finished runs stay, a run that fails does not stop the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import amc_hw

from amc_hw.errors import BudgetError, UsageError
from amc_hw.runs.begun import open_run
from amc_hw.runs.config import make_config
from amc_hw.runs.file_names import FRONT
from amc_hw.runs.files import write_json
from amc_hw.runs.progress import SILENT
from amc_hw.sweep import sweep as module
from amc_hw.sweep.plan import plan_sweep
from amc_hw.sweep.sweep import sweep


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for the compression: latency follows the budget, 0.1x cannot be reached, and 0.2x is missed."""
    runs: list[str] = []

    def compress(run: Path, config, progress, compute, family):
        runs.append(run.name)
        if config.budget == "0.1x":
            raise BudgetError("a budget of 0.1x cannot be reached.")
        open_run(run, config)
        share = float(config.budget.rstrip("x"))
        made = {
            "latency_ms": max(share, 0.25),
            "predicted_ms": share,
            "accuracy": 0.9 + 0.05 * share - 0.01 * config.seed,
        }
        summary = {
            "format": 1,
            "model": "m",
            "data": "digits",
            "budget": {"metric": "latency_ms", "target": share, "ratio": share},
            "original": {"accuracy": 0.97, "latency_ms": 1.0},
            "compressed": made,
        }
        if config.smaller and config.budget == "0.5x":
            summary |= {"smaller": dict.fromkeys(config.smaller, made), "take": next(iter(config.smaller))}
        write_json(run / "summary.json", summary)
        return summary

    monkeypatch.setattr(module, "compress", compress)
    return runs


def test_finished_runs_are_not_repeated(compressed: list[str], tmp_path: Path) -> None:
    base = make_config(model="m", data="digits", episodes=5, epochs=1)
    rows = sweep(tmp_path, plan_sweep(tmp_path, base, ["0.3x", "0.5x"], 2), SILENT)
    assert compressed == ["0.3x-seed0", "0.3x-seed1", "0.5x-seed0", "0.5x-seed1"]
    assert [row.on_front for row in rows] == [True, False, True, False]
    assert "0.5x-seed1" in (tmp_path / FRONT).read_text()
    again = sweep(tmp_path, plan_sweep(tmp_path, base, ["0.3x", "0.5x", "0.7x"], 2), SILENT)
    assert compressed[4:] == ["0.7x-seed0", "0.7x-seed1"]
    assert again[:4] == rows
    sweep(tmp_path, plan_sweep(tmp_path, base.model_copy(update={"epochs": 2}), ["0.3x"], 1), SILENT)
    assert compressed[6:] == ["0.3x-seed0"]


def test_a_run_that_fails_does_not_stop_the_others(compressed: list[str], tmp_path: Path, capsys) -> None:
    assert amc_hw("sweep", "--latency", "0.1x,0.5x", "--out", tmp_path, "--json") == 1
    written = capsys.readouterr()
    first, second = json.loads(written.out)
    assert "cannot be reached" in first["error"]
    assert second["compressed"]["latency_ms"] == 0.5
    assert "0.1x-seed0" in written.err


def test_the_table_says_the_share_and_whether_the_budget_is_held(compressed: list[str], tmp_path: Path, capsys) -> None:
    assert amc_hw("sweep", "--latency", "0.3x,0.5x", "--out", tmp_path) == 0
    told = capsys.readouterr().out
    assert "held" in told
    assert "0.300x" in told
    assert "0.500x" in told


def test_a_missed_budget_has_a_status_of_its_own(compressed: list[str], tmp_path: Path, capsys) -> None:
    assert amc_hw("sweep", "--latency", "0.2x,0.5x", "--out", tmp_path) == 3
    assert "no:" in capsys.readouterr().out


def test_the_table_says_where_a_smaller_network_is_to_be_taken(compressed: list[str], tmp_path: Path, capsys) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "r20.pt")
    smaller = ("--smaller", f"resnet20={tmp_path / 'r20.pt'}")
    assert amc_hw("sweep", "--latency", "0.3x,0.5x", "--out", tmp_path / "out", *smaller) == 0
    shown = capsys.readouterr().out  # in a narrow column
    assert (shown.count("take"), shown.count("resnet20")) == (1, 1)


@pytest.mark.parametrize("budgets", [[], ["0.5x", "0.5x"]])
def test_budgets_must_differ(budgets: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="different budgets"):
        plan_sweep(tmp_path, make_config(model="m", data="digits"), budgets, 1)
