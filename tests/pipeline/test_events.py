"""Curves for TensorBoard: every step once, also after a kill, and nothing at all where it is not installed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import TINY, amc_hw

from amc_hw.budget.cost import Cost, Term
from amc_hw.pipeline.events import episode_events, epoch_events
from amc_hw.runs.files import append_line
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import Episode
from amc_hw.search.study import StudyResult
from amc_hw.training.state import History

COST = Cost("macs", [Term(("conv",), lambda channels: 1e6 * channels[0])])
ORIGINAL = {"conv": 8, "fc": 4}
Curves = dict[str, dict[int, float]]


def episodes(count: int) -> tuple[Episode, ...]:
    rewards = (-0.5, -0.1, -0.3, -0.2)
    return tuple(
        Episode(
            episode=n,
            channels={"conv": n + 1, "fc": 4},
            accuracy=1 + rewards[n],
            reward=rewards[n],
            cost=1e6 * (n + 1),
            seconds=0.5,
        )
        for n in range(count)
    )


def next_second() -> None:
    """TensorBoard reads files in the order of their names, which tell the second and only then a number."""
    time.sleep(1.1)


def search(run: Path, first: int, last: int) -> None:
    """Go on as `run_study` does: all recorded episodes are told again, then those to come."""
    log = run / "episodes.jsonl"
    if first == 0:
        append_line(log, {"format": 1, "settings": {}})
    else:
        next_second()
    with episode_events(RunFolder(run), COST, ORIGINAL) as told:
        for number in range(last):
            if number >= first:
                append_line(log, {"episode": number})
            told(StudyResult(episodes(number + 1)))


@pytest.fixture
def read() -> Callable[[Path], Curves]:
    """Read a folder as TensorBoard does; a step that was written twice is an error."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def curves(folder: Path) -> Curves:
        events = EventAccumulator(str(folder)).Reload()
        found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        for tag, points in found.items():
            assert [step for step, _ in points] == sorted({step for step, _ in points}), tag
        return {tag: dict(points) for tag, points in found.items()}

    return curves


def test_an_episode_is_a_step(tmp_path: Path, read) -> None:
    search(tmp_path, 0, 3)
    curves = read(tmp_path / "tensorboard" / "search")
    assert set(curves) == {"reward", "best_reward", "accuracy", "cost/macs", "seconds", "kept/conv", "kept/fc"}
    assert curves["reward"] == pytest.approx({0: -0.5, 1: -0.1, 2: -0.3})
    assert curves["best_reward"] == pytest.approx({0: -0.5, 1: -0.1, 2: -0.1})
    assert curves["cost/macs"] == {0: 1e6, 1: 2e6, 2: 3e6}
    assert curves["kept/conv"] == {0: 1 / 8, 1: 2 / 8, 2: 3 / 8}
    assert set(curves["kept/fc"].values()) == {1.0}


def test_a_resumed_search_writes_no_episode_twice(tmp_path: Path, read) -> None:
    search(tmp_path, 0, 2)
    search(tmp_path, 2, 4)
    assert list(read(tmp_path / "tensorboard" / "search")["reward"]) == [0, 1, 2, 3]
    older, newer = sorted(
        (tmp_path / "tensorboard" / "search").iterdir(), key=lambda file: int(file.name.rpartition(".")[2])
    )
    older.unlink()
    assert list(read(newer.parent)["reward"]) == [1, 2, 3], "only what the kill may have lost is written again"
    shutil.rmtree(newer.parent)
    search(tmp_path, 4, 4)
    assert list(read(newer.parent)["reward"]) == [0, 1, 2, 3], "TensorBoard was installed meanwhile"


def test_a_resumed_finetuning_writes_no_epoch_twice(tmp_path: Path, read) -> None:
    losses, accuracies = [0.9, 0.5, 0.4], [0.6, 0.7, 0.8]
    for first, last in ((0, 2), (2, 3)):
        with epoch_events(RunFolder(tmp_path)) as told:
            for done in range(first, last + 1):
                told(History(0.5, losses[:done], accuracies[:done]))
        next_second()
    curves = read(tmp_path / "tensorboard" / "finetune")
    assert curves["train_loss"] == pytest.approx({1: 0.9, 2: 0.5, 3: 0.4})
    assert curves["search_accuracy"] == pytest.approx({0: 0.5, 1: 0.6, 2: 0.7, 3: 0.8})


def command(checkpoint: Path, run: Path) -> tuple[object, ...]:
    network = ("sparsify", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", run)
    return (*network, "--size", "0.5x", "--episodes", 3, "--epochs", 1, "--json")


def test_a_run_has_its_curves(checkpoint: Path, tmp_path: Path, read) -> None:
    run = tmp_path / "run"
    assert amc_hw(*command(checkpoint, run)) == 0
    logged = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()[1:]]
    curves = read(run / "tensorboard" / "search")
    assert curves["accuracy"] == pytest.approx({line["episode"]: line["accuracy"] for line in logged})
    assert curves["cost/size_bytes"] == pytest.approx({line["episode"]: line["cost"] for line in logged})
    assert list(read(run / "tensorboard" / "finetune")["train_loss"]) == [1]


def test_without_tensorboard_nothing_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    run = tmp_path / "run"
    assert amc_hw(*command(checkpoint, run)) == 0
    assert len((run / "episodes.jsonl").read_text().splitlines()) == 4
    assert not (run / "tensorboard").exists()
