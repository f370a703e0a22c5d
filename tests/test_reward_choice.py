"""The benchmark of whether a search's scores choose well: on a small run, to its end and again from its files."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
from commands import TINY, amc_hw

from amc_hw.errors import AmcHwError
from amc_hw.runs.folder import RunFolder
from amc_hw.search.study import read_study


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    __import__("reward_choice")
    return sys.modules["reward_choice"]


def test_the_best_policies_of_a_run_are_fine_tuned_once(
    choice: ModuleType,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    task = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--precision", "fp32")
    assert amc_hw("search", *task, "--macs", "0.5x", "--strategy", "random", "--episodes", 8, "--run", run) == 0
    capsys.readouterr()
    options = Namespace(run=run, policies=3, epochs=1)
    choice.main(options)
    first = capsys.readouterr().out
    assert len([line for line in first.splitlines() if line.startswith("|")]) == 2 + 3
    assert "rank correlation of 3:" in first
    assert "the shortlist's choice:" in first
    assert not list((run / "reward-choice").glob("*.pt"))
    monkeypatch.setattr(choice, "make_pruner", None)  # nothing is left to do
    choice.main(options)
    assert capsys.readouterr().out == first
    scores = [each.accuracy for each in choice.best_episodes(RunFolder(run), 20)]
    assert scores == sorted(scores, reverse=True)
    policies = {tuple(each.channels.items()) for each in read_study(RunFolder(run).episodes.path).episodes}
    assert len(scores) == len(policies)


def test_the_verdict_ranks_and_compares(choice: ModuleType) -> None:
    said = choice.verdict([0.9, 0.8, 0.7, 0.6], [0.91, 0.94, 0.92, 0.90], 0.915)
    assert said[0].startswith("rank correlation of 4: 0.40 ")
    assert said[1] == "best of them: 94.00%, number 2 by its score; best by its score: 91.00%"
    assert said[2] == "the shortlist's choice: 91.50%; 2 of 4 are better"
    assert len(choice.verdict([0.9, 0.8, 0.7], [0.9, 0.8, 0.7], None)) == 2


def test_a_folder_without_a_search_is_refused(choice: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(AmcHwError):
        choice.main(Namespace(run=tmp_path / "gone", policies=20, epochs=1))
