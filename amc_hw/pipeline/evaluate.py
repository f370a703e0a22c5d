"""The accuracy on the test set of an exported file, or of a run's network."""

from __future__ import annotations

from pathlib import Path

from amc_hw.data.dataset import load_data
from amc_hw.errors import UsageError
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.pipeline.begin import open_trained, square_side
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.settings import check_evaluation
from amc_hw.pipeline.summary import evaluate_file
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.training.evaluation import evaluate


def evaluate_on_test(
    file: Path | None, run: Path | None, data: str | None, data_root: Path | None, progress: Progress
) -> tuple[str, float]:
    """Return the name and the top-1 accuracy on the test set of an exported file, or of a run's network.

    Raises:
        UsageError: see `check_evaluation`.
    """
    check_evaluation(file, run, data, data_root)
    if run is not None:
        _, trained = open_trained(run)
        part = load_data(data, data_root, square_side(trained.data)).test if data else trained.data.test
        folder = RunFolder(run)
        for file in map(folder.model, FORMATS):
            if file.exists():
                return str(file), evaluate_file(file, part, progress)
        weights = folder.best_weights
        return str(weights), evaluate(trained.as_shipped(restore(folder, trained, weights)), part)
    if file is None or data is None:
        raise UsageError("name a file and its data set.")
    size = load_file(file).image_size
    return str(file), evaluate_file(file, load_data(data, data_root, size[1] if size else None).test, progress)
