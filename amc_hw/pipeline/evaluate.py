"""The accuracy on the test set of an exported file, or of a run's network."""

from __future__ import annotations

import logging
from pathlib import Path

from amc_hw.data.dataset import load_data
from amc_hw.data.labels import metric_of
from amc_hw.errors import UsageError
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.pipeline.begin import open_trained, square_side
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.settings import check_evaluation
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.tasks.classification import evaluate_file
from amc_hw.tasks.multi_label import classification

_LOG = logging.getLogger(__name__)


def evaluate_on_test(
    file: Path | None, run: Path | None, data: str | None, data_root: Path | None, progress: Progress
) -> tuple[str, str, float]:
    """Return the name, the metric and its value on the test set of an exported file, or of a run's network.

    Raises:
        UsageError: see `check_evaluation`.
    """
    check_evaluation(file, run, data, data_root)
    if run is not None:
        _, trained = open_trained(run)
        task = trained.task
        if data is not None:
            task = classification(load_data(data, data_root, square_side(trained.data)))
        folder = RunFolder(run)
        for file in map(folder.model, FORMATS):
            if file.exists():
                return str(file), task.metric, task.test_file(file, progress)
        weights = folder.best_weights
        return str(weights), task.metric, task.test(trained.as_shipped(restore(folder, trained, weights)))
    if file is None or data is None:
        raise UsageError("name a file and its data set.")
    loaded = load_file(file)
    size = loaded.image_size
    test = load_data(data, data_root, size[1] if size else None).test
    image, _ = test.first(1, 0)
    if size == tuple(image.shape[1:]) and len(loaded.outputs([image.numpy()])) > 1:
        _LOG.warning("%s has several outputs; the first one is taken for the scores of the classes", file.name)
    return str(file), metric_of(test.labels), evaluate_file(file, test, progress)
