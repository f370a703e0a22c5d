"""Runs of one sweep: what does not depend on the budget is made once, and each run still stands for itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import TINY, amc_hw

from amc_hw.pipeline import trained
from amc_hw.pipeline.family import Family, episodes_left, take_over, take_weights
from amc_hw.runs.begun import open_run
from amc_hw.runs.config import RunConfig, make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import ChosenPolicy, Episode
from amc_hw.runs.shared import ScoredImages
from amc_hw.runs.summaries import Summary
from amc_hw.sweep.sweep import is_finished
from amc_hw.tasks import classification


def settings(budget: str, **given: object) -> RunConfig:
    return make_config(precision="fp32", episodes=8, macs=budget, **given)


def begun(folder: Path, config: RunConfig, weights: bytes = b"weights") -> RunFolder:
    """Make a run that has chosen a policy after one episode."""
    run = RunFolder(folder)
    open_run(folder, config)
    run.baseline.write_bytes(weights)
    (folder / "original.tflite").write_bytes(b"original")
    run.sample.write(ScoredImages(positions=[2, 0], weights=[1.0, 3.0]))
    run.episodes.begin({})
    run.episodes.append(Episode(episode=0, channels={"a": 8}, accuracy=0.5, reward=-0.5))
    run.policy.write(ChosenPolicy(channels={"a": 8}))
    return run


def new(folder: Path, weights: bytes = b"weights") -> RunFolder:
    folder.mkdir()
    RunFolder(folder).baseline.write_bytes(weights)
    return RunFolder(folder)


def test_a_run_takes_over_what_does_not_depend_on_the_budget(tmp_path: Path) -> None:
    other, run = begun(tmp_path / "other", settings("0.7x")), new(tmp_path / "run")
    take_over(run, settings("0.5x"), [other.path, tmp_path / "missing"])
    assert (run.path / "original.tflite").read_bytes() == b"original"
    assert run.sample.read() == other.sample.read()
    (known,) = run.known.read()
    assert (known.channels, known.accuracy, known.precision) == ({"a": 8}, 0.5, "fp32")
    assert not run.policy.exists()


def test_what_scores_are_called_is_found_when_a_run_begins_and_keeps_no_runs_apart(tmp_path: Path) -> None:
    asked, scored = settings("0.5x"), {"scored": "mean average precision"}
    other = begun(tmp_path / "other", settings("0.7x").model_copy(update=scored))
    run = new(tmp_path / "run")
    take_over(run, asked, [other.path])
    assert len(run.known.read()) == 1
    done = begun(tmp_path / "done", asked.model_copy(update=scored))
    done.summary.write(Summary())
    assert is_finished(done.path, asked)
    assert not is_finished(done.path, settings("0.4x"))


@pytest.mark.parametrize(
    "different", [{"seed": 1}, {"lower": 0.3}, {"episodes": 9}, {"versions": {"torch": "0"}}, {"image_size": 8}]
)
def test_nothing_is_taken_over_from_a_run_with_other_settings(tmp_path: Path, different: dict[str, object]) -> None:
    config = settings("0.7x").model_copy(update={"image_size": 32, **different})
    other, run = begun(tmp_path / "other", config), new(tmp_path / "run")
    take_over(run, settings("0.5x").model_copy(update={"image_size": 32}), [other.path])
    assert [each.name for each in run.path.iterdir()] == ["baseline.pt"]


def test_nothing_is_taken_over_from_a_run_with_other_weights_or_without_a_policy(tmp_path: Path) -> None:
    searching = begun(tmp_path / "searching", settings("0.7x"))
    searching.policy.path.unlink()
    retrained, run = begun(tmp_path / "other", settings("0.6x"), b"others"), new(tmp_path / "run")
    take_over(run, settings("0.5x"), [searching.path, retrained.path])
    assert [each.name for each in run.path.iterdir()] == ["baseline.pt"]


def test_a_search_that_has_begun_learns_nothing_more(tmp_path: Path) -> None:
    other, run = begun(tmp_path / "other", settings("0.7x")), begun(tmp_path / "run", settings("0.5x"))
    take_over(run, settings("0.5x"), [other.path])
    assert not run.known.exists()


def test_a_damaged_run_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, run = begun(tmp_path / "whole", settings("0.6x")), new(tmp_path / "run")
    torn = [begun(tmp_path / name, settings("0.7x")) for name in ("settings", "log")]
    torn[0].config.write_text("{")
    torn[1].episodes.path.write_text("nonsense\n{}\n")
    take_over(run, settings("0.5x"), [*(each.path for each in torn), whole.path])
    assert len(run.known.read()) == 1
    assert caplog.text.count("nothing is taken over from it") == 2


def test_weights_that_a_run_would_train_are_taken_from_another(tmp_path: Path) -> None:
    other, run = begun(tmp_path / "other", settings("0.7x")), RunFolder(tmp_path / "run")
    take_weights(run, settings("0.5x"), [other.path])
    assert run.baseline.read_bytes() == b"weights"
    brought = RunFolder(tmp_path / "brought")
    take_weights(brought, settings("0.5x", checkpoint=str(tmp_path / "w.pt")), [other.path])
    assert not brought.baseline.exists()


def test_a_network_is_not_that_of_other_weights(tmp_path: Path) -> None:
    family = Family()
    family.keep_network(new(tmp_path / "first"), "the network")  # type: ignore[arg-type]
    assert family.known_network(RunFolder(tmp_path / "new")) == "the network"
    assert family.known_network(new(tmp_path / "same")) == "the network"
    assert family.known_network(new(tmp_path / "other", b"others")) is None


@pytest.mark.parametrize(("known", "left"), [(0, 100), (30, 70), (75, 25), (400, 25)])
def test_a_search_has_fewer_episodes_the_more_is_known(known: int, left: int) -> None:
    assert episodes_left(100, known) == left


def test_a_sweep_makes_its_statistics_once_and_each_run_goes_on_alone(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, make = [], trained.Pruner
    tested, test = list[str](), classification.evaluate_file
    monkeypatch.setattr(
        classification, "evaluate_file", lambda file, *more: tested.append(file.name) or test(file, *more)
    )
    monkeypatch.setattr(trained, "Pruner", lambda *given, **more: made.append(1) or make(*given, **more))
    network = ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--precision", "fp32")
    options = (*network, "--episodes", 12, "--epochs", 0)
    assert amc_hw("sweep", *options, "--macs", "0.7x,0.5x", "--out", tmp_path, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    first, second = (RunFolder(Path(row["run"])) for row in rows)
    assert len(made) == 1
    assert sorted(tested) == ["model.tflite", "model.tflite", "original.tflite"]
    whole = first.summary.read().original.macs
    assert [row["compressed"]["macs"] <= share * whole for row, share in zip(rows, (0.7, 0.5), strict=True)] == [
        True
    ] * 2

    scored = {tuple(each.channels.values()): each.accuracy for each in first.episodes.read().episodes}
    assert {tuple(each.channels.values()): each.accuracy for each in second.known.read()} == scored
    search = second.summary.read().search
    assert search.known == len(scored)
    assert search.episodes <= episodes_left(12, len(scored))
    assert first.summary.read().search.known is None
    assert "that other runs of the sweep had scored" in second.report.read_text()

    shutil.rmtree(first.path)
    before = second.episodes.path.read_bytes(), second.policy.read().channels
    for file in (second.policy.path, second.summary.path):
        file.unlink()
    assert amc_hw("compress", *options, "--macs", "0.5x", "--run", second.path) == 0
    assert (second.episodes.path.read_bytes(), second.policy.read().channels) == before
