"""The benchmark of the reward: what it says of accuracies, which policies it takes, how it goes on after a stop."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from commands import TINY, amc_hw

from amc_hw.errors import UsageError, WrongRunError
from amc_hw.runs.folder import RunFolder


@pytest.fixture
def reward_quality(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("reward_quality")


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("searched") / "run"
    settings = ("--macs", "0.5x", "--strategy", "random", "--episodes", "6", "--precision", "fp32")
    assert amc_hw("search", "--model", TINY, "--checkpoint", checkpoint, *settings, "--run", folder) == 0
    return RunFolder(folder)


def test_ranks_are_compared_and_the_choice_is_held_against_the_best(reward_quality: ModuleType) -> None:
    rows = zip((0.8, 0.9, 0.7, 0.6), (0.5, 0.6, 0.7, 0.8), (0.91, 0.93, 0.89, 0.85), strict=True)
    scores = [reward_quality.Scores(*row) for row in rows]
    text = reward_quality.verdict([0.9, 0.8, 0.7, 0.6], scores, reward_quality.Scores(0.8, 0.6, 0.92))
    assert "before: 0.80; -1.00" in text
    assert "as refitted: 1.00; 1.00" in text
    assert "after a short fine-tune: -0.80; 1.00" in text
    assert "the first before: 91.00%\nthe first as refitted: 93.00%\nthe first after a short fine-tune: 85.00%" in text
    assert "the choice after short fine-tunes: 92.00%, the best of the 4: 93.00%; 1 of them" in text


def test_equal_accuracies_have_no_correlation(reward_quality: ModuleType) -> None:
    assert reward_quality.correlation([0.5, 0.5], [0.5, 0.6]) == "undefined, because all are alike"


def test_policies_over_the_budget_are_left_out(reward_quality: ModuleType, run: RunFolder) -> None:
    best = reward_quality.best_episodes(run, 20)
    assert [each.reward for each in best] == sorted((each.reward for each in best), reverse=True)
    lines = run.episodes.path.read_text().splitlines()
    over = [json.dumps({**json.loads(line), "reward": -2.0}) for line in lines[1:4]]
    try:
        run.episodes.path.write_text("\n".join([lines[0], *over, *lines[4:], ""]))
        with pytest.raises(UsageError, match="--episodes"):
            reward_quality.best_episodes(run, 20)
    finally:
        run.episodes.path.write_text("\n".join([*lines, ""]))


def test_policies_are_fine_tuned_once(
    reward_quality: ModuleType,
    run: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def play(epochs: int) -> str:
        options = ("--run", str(run.path), "--best", "4", "--epochs", str(epochs), "--out", str(tmp_path / "out"))
        monkeypatch.setattr(sys, "argv", ["reward_quality.py", *options])
        reward_quality.main()
        return capsys.readouterr().out

    first = play(1)
    assert first.splitlines()[2].startswith("| 1 | ")
    assert "rank correlation with what comes after, 4 policies; " in first
    monkeypatch.delattr(reward_quality.Finetuned, "_scores")  # nothing is done again
    assert play(1) == first
    with pytest.raises(WrongRunError, match="epochs 1, not 2"):
        play(2)
