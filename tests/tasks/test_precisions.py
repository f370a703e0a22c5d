"""Tasks in int8: scored by the file, learned by its simulation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from segments import discs, mean_iou, task, trained

import amc_hw
from amc_hw import OwnTask
from amc_hw.formats.export import export
from amc_hw.formats.file_network import FileNetwork
from amc_hw.formats.registry import load_file
from amc_hw.quantize.simulated import Simulated
from amc_hw.runs.folder import RunFolder

pytest.importorskip("litert_torch")
pytestmark = pytest.mark.usefixtures("simulated")


def test_a_file_gives_what_the_network_gives(tmp_path: Path) -> None:
    model, (images, masks) = trained(), discs(12, 4)
    export(model, images[:1], tmp_path / "m.tflite")
    with torch.no_grad():
        file = FileNetwork(load_file(tmp_path / "m.tflite"), images[:1], model(images[:1]))
        assert torch.allclose(file(images)["masks"], model(images)["masks"], atol=1e-4)
    assert mean_iou(file, images, masks) == pytest.approx(mean_iou(model, images, masks), abs=0.01)


def test_a_task_is_scored_by_files_and_learned_by_their_simulation(tmp_path: Path) -> None:
    own, seen = task(), set[type]()

    def score(model: torch.nn.Module) -> float:
        seen.add(type(model))
        return own.score(model)

    result = amc_hw.compress(
        trained(),
        own.inputs,
        task=OwnTask(score, own.train, own.test, own.metric),
        device="host",
        macs="0.6x",
        strategy="uniform",
        episodes=2,
        epochs=1,
        precision="int8",
        table=tmp_path / "table.json",
        run=tmp_path / "run",
    )
    assert {FileNetwork, Simulated} <= seen
    assert result.summary["precision"] == "int8"
    accuracies = [result.summary["compressed"]["accuracy"], result.summary["others"]["compressed in fp32"]["accuracy"]]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.1)


def test_the_precision_of_a_task_is_chosen_by_its_score(tmp_path: Path) -> None:
    own = task()
    amc_hw.compress(
        trained(),
        own.inputs,
        task=own,
        device="host",
        size="0.5x",
        strategy="uniform",
        episodes=1,
        epochs=0,
        table=tmp_path / "table.json",
        run=tmp_path / "run",
    )
    trials = RunFolder(tmp_path / "run").precision.read().trials
    assert {trial.precision for trial in trials} >= {"fp32", "int8", "int8-dynamic"}
    assert all(0 <= (trial.accuracy or 0) <= 1 for trial in trials)
