"""The test set is asked once of each file and each network, as long as it is the same test set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from amc_hw.runs.folder import RunFolder
from amc_hw.tasks import classification

pytest.importorskip("litert_torch")
from device_run import compressed
from simulated_device import SimulatedDevice

from amc_hw.pipeline.begin import begin
from amc_hw.pipeline.tested import file_quality, network_quality
from amc_hw.runs.begun import read_config
from amc_hw.runs.progress import SILENT


@pytest.fixture(scope="module")
def run(checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("tested") / "run"
    compressed(folder, checkpoint, SimulatedDevice())
    return RunFolder(folder)


def test_a_finished_run_tests_no_file_and_no_network_again(run: RunFolder, checkpoint: Path) -> None:
    before = run.summary.read()
    asked = mock.Mock(side_effect=AssertionError("the test set was asked again"))
    with (
        mock.patch.object(classification, "evaluate_file", asked),
        mock.patch.object(classification.Classification, "test", asked),
    ):
        compressed(run.path, checkpoint, SimulatedDevice())
    after = run.summary.read()
    assert (after.original.accuracy, after.compressed.accuracy) == (
        before.original.accuracy,
        before.compressed.accuracy,
    )
    assert after.compressed.accuracy_before_finetune == before.compressed.accuracy_before_finetune
    assert len(run.tested.read()) == 2  # the original's file, and that of the pruned network, which nothing made better


def test_other_labels_another_file_and_another_precision_are_asked_again(run: RunFolder, tmp_path: Path) -> None:
    _, trained = begin(run, read_config(run.path), SILENT)
    folder, file = RunFolder(tmp_path), run.model("tflite")
    known = file_quality(folder, trained, file, SILENT)
    data = trained.task.data
    wrong = replace(data.test, labels=(data.test.labels + 1) % data.num_classes)
    other = replace(trained, task=classification.Classification(replace(data, test=wrong)))
    assert file_quality(folder, other, file, SILENT) < 0.5 < known
    assert file_quality(folder, trained, file, SILENT) == known
    file_quality(folder, trained, run.original("tflite"), SILENT)
    for precision in ("fp32", "int8", "fp32"):
        network_quality(folder, replace(trained, precision=precision), trained.model)
    assert len(folder.tested.read()) == 5


def test_images_that_changed_behind_the_same_labels_are_another_test_set(run: RunFolder) -> None:
    _, trained = begin(run, read_config(run.path), SILENT)
    part = trained.task.data.test
    assert part.digest == replace(part).digest
    assert part.digest != replace(part, positions=part.positions.flip(0)).digest


def test_a_task_of_ones_own_is_always_asked(run: RunFolder, tmp_path: Path) -> None:
    _, trained = begin(run, read_config(run.path), SILENT)
    own = mock.Mock(test_set=None, test_file=mock.Mock(side_effect=[0.25, 0.75]))
    asked = replace(trained, task=own)
    assert [file_quality(RunFolder(tmp_path), asked, run.model("tflite"), SILENT) for _ in range(2)] == [0.25, 0.75]
    assert not RunFolder(tmp_path).tested.exists()
