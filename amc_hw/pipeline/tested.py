"""The test set is asked once of each file and each network; the run folder keeps what it said."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from torch import nn

from amc_hw.pipeline.trained import TrainedModel
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.summaries import Tested
from amc_hw.training.state import digest


def file_quality(run: RunFolder, trained: TrainedModel, file: Path, progress: Progress) -> float:
    """Return how good an exported file is on the test set, 0..1."""
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    return _once(run, trained, content, lambda: trained.task.test_file(file, progress))


def network_quality(run: RunFolder, trained: TrainedModel, model: nn.Module) -> float:
    """Return how good a network is on the test set, 0..1, as it computes in the precision that ships."""
    content = f"{digest(model)} in {trained.precision}"
    return _once(run, trained, content, lambda: trained.task.test(trained.as_shipped(model)))


def _once(run: RunFolder, trained: TrainedModel, content: str, ask: Callable[[], float]) -> float:
    """Return what a test set said before, or what it says; a task whose test set is its own affair is always asked."""
    test_set = trained.task.test_set
    if test_set is None:
        return ask()
    for known in run.tested.read():
        if (known.content, known.test_set) == (content, test_set):
            return known.value
    run.tested.append(Tested(content=content, test_set=test_set, value=(value := ask())))
    return value
