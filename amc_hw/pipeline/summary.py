"""What a run came to: its files on the test set, and summary.json."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from amc_hw.budget.budget import Budget
from amc_hw.data.dataset import Part
from amc_hw.devices.base import Device
from amc_hw.errors import UsageError
from amc_hw.formats.registry import load_file
from amc_hw.pipeline.finish import in_other_precisions
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.settings import parse_budgets
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Policy
from amc_hw.profiling.timing import Timing
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.summaries import BudgetFigures, Figures, SearchFacts, Summary
from amc_hw.search.study import read_study
from amc_hw.training.evaluation import evaluate

EVALUATION_BATCH = 50


def summarise(
    run: RunFolder,
    config: RunConfig,
    trained: TrainedModel,
    device: Device,
    timings: dict[str, Timing],
    predicted_original_ms: float | None,
    progress: Progress,
) -> Summary:
    """Evaluate the files on the test set, once, and write summary.json.

    Without timings the summary is marked unverified, and a share of the original's latency is of its prediction.
    """
    policy, test = run.policy.read(), trained.data.test
    original_file, file = run.original(device.format), run.model(device.format)
    original = _figures(trained, trained.network.original, original_file, timings.get("original"), progress).model_copy(
        update={"predicted_ms": predicted_original_ms}
    )
    compressed = _figures(trained, policy.channels, file, timings.get("compressed"), progress).model_copy(
        update={
            "accuracy_before_finetune": evaluate(
                trained.as_shipped(restore(run, trained, run.pruned)), test, device=trained.compute
            ),
            "predicted_ms": policy.predicted_ms,
            "channels": policy.channels,
        }
    )
    unknown = predicted_original_ms or math.inf  # then no budget is a share of it
    budget, *limits = (_allowed(each, original.value(each.metric) or unknown) for each in parse_budgets(config))
    summary = Summary(
        model=config.model,
        data=config.data,
        device=device.fingerprint().model_dump(),
        budget=budget,
        limits=limits,
        original=original,
        compressed=compressed,
        precision=config.precision,
        io=config.io,
        others={
            name: _figures(
                trained,
                policy.channels if file == run.float_model(device.format) else trained.network.original,
                file,
                timings.get(name),
                progress,
            )
            for name, file in in_other_precisions(run, device).items()
        },
        search=_search_facts(run, config),
        artifacts={
            device.format: file.name,
            f"original_{device.format}": original_file.name,
            "torch": run.finetuned.name,
        },
        unverified=not timings,
        test_images=len(test),
        image_size=list(trained.data.image_size),
    )
    run.summary.write(summary)
    return summary


def _search_facts(run: RunFolder, config: RunConfig) -> SearchFacts:
    episodes = read_study(run.episodes.path).episodes
    seconds = sum(episode.seconds for episode in episodes)
    return SearchFacts(strategy=config.strategy, episodes=len(episodes), seconds=seconds, seed=config.seed)


def _figures(trained: TrainedModel, policy: Policy, file: Path, timing: Timing | None, progress: Progress) -> Figures:
    """Return what is known of a policy's network by its exported file and the last benchmark."""
    return Figures(
        accuracy=evaluate_file(file, trained.data.test, progress),
        latency_ms=None if timing is None else timing.latency_ms,
        macs=trained.network.macs(policy),
        params=trained.network.params(policy),
        size_bytes=file.stat().st_size,
    )


def _allowed(budget: Budget, original: float) -> BudgetFigures:
    """Return what summary.json holds of a budget."""
    return BudgetFigures(metric=budget.metric, target=budget.allowed(original), ratio=budget.ratio)


def evaluate_file(file: Path, part: Part, progress: Progress) -> float:
    """Return the top-1 accuracy of an exported file as a fraction.

    Raises:
        UsageError: the file does not exist, takes other images than the data set has, or tells fewer classes apart.
    """
    model = load_file(file)
    classes, correct, done = int(part.labels.max()) + 1, 0, 0
    for images, labels in part.batches(EVALUATION_BATCH):
        if model.image_size != tuple(images.shape[1:]):
            raise UsageError(
                f"{file.name} takes images of (channels, height, width) {model.image_size}, "
                f"the data has {tuple(images.shape[1:])}."
            )
        scores = np.asarray(model(images.numpy()))
        numbers = scores.size / len(images)
        if numbers < classes or numbers % 1:
            raise UsageError(
                f"{file.name} gives {numbers:g} numbers for an image, the data has {classes} classes; "
                "export the network with a score for each class."
            )
        correct += int((scores.reshape(len(images), -1).argmax(1) == labels.numpy()).sum())
        done += len(images)
        progress(f"evaluating {file.name}", done, len(part))
    return correct / len(part)
