"""Classification: one tensor of scores for every image, compared by top-1 accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amc_hw.chance import standard_error
from amc_hw.data.dataset import Data, Part, has_own_size
from amc_hw.data.labels import count_of, counted, is_multi_label, quality, told
from amc_hw.errors import DivergedError, UnsupportedModelError, UsageError
from amc_hw.formats.registry import load_file
from amc_hw.policy import TOP1
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.search.file_scoring import FileScorer
from amc_hw.search.scoring import NetworkScore, PartScorer
from amc_hw.tasks.goal import Finetuning, Writes
from amc_hw.tasks.inputs import not_running
from amc_hw.training.compute import CPU
from amc_hw.training.evaluation import evaluate
from amc_hw.training.loop import train
from amc_hw.training.optimizer import suited_optimizer
from amc_hw.training.recipe import recovery_batch_size, recovery_recipe
from amc_hw.training.state import History
from amc_hw.training.trial import smallest_batch, try_training

CALIBRATION_IMAGES = 128
"""From which the ranges of activations are known: LiteRT's guide has a hundred or so."""
USUAL_SIZES = (32, 64, 224, 28, 48, 96, 128, 160, 192, 256, 299, 384, *range(8, 257, 8))
"""Sides that a network is tried with where it does not run, to name the one that it takes."""
EVALUATION_BATCH = 50
MOST_IMAGES, LEAST_IMAGES = 25_600, 2_560
MOST_EPOCHS = 5
"""Of a short fine-tune on a small data set: a few dozen steps would tell of the disturbance, not of what is learned."""
BY_HEART, ASKED = 0.99, 512
"""The share of so many training images that is right of a network which knows them by heart."""
TUNING_MACS = 1e12
"""Of the original's forward passes over the images of one short fine-tune, where they are not too few."""


@dataclass(frozen=True)
class Classification:
    """Telling the classes of a data set apart; see `amc_hw.tasks.goal.Goal`.

    Attributes:
        data: on ``compute``, as far as it fits.
        compute: where tensors are worked on; the networks themselves stay on the CPU.
    """

    data: Data
    compute: torch.device = CPU

    @property
    def name(self) -> str:
        """The data set's."""
        return self.data.name

    @property
    def metric(self) -> str:
        """Top-1 accuracy."""
        return TOP1

    @property
    def example(self) -> Tensor:
        """One black image (1, C, H, W)."""
        return torch.zeros(1, *self.data.image_size)

    @property
    def training_images(self) -> int:
        """How many images are learned."""
        return len(self.data.train)

    @property
    def search_images(self) -> int | None:
        """The images of the validation split."""
        return len(self.data.search)

    @property
    def test_images(self) -> int:
        """The images of the test set."""
        return len(self.data.test)

    @property
    def test_set(self) -> str:
        """See `amc_hw.data.dataset.Part.digest`."""
        return self.data.test.digest

    def require_fit(self, model: nn.Module) -> None:
        """See `require_classes`."""
        require_classes(model, self.data)

    def statistics(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return training images (N, C, H, W) and their labels."""
        return self.data.train.first(count, seed, self.compute)

    def calibration(self) -> Tensor:
        """Return training images (N, C, H, W)."""
        return self.data.train.first(CALIBRATION_IMAGES, seed=0)[0].cpu()

    def score(self, write: Writes | None = None) -> NetworkScore:
        """Return the top-1 accuracy on the validation split."""
        if write is None:
            return PartScorer(self.data.search, self.compute)
        return FileScorer(self.data.search, self.compute, write=write)

    def validate(self, model: nn.Module) -> float:
        """Return a network's quality on the validation split."""
        return evaluate(model, self.data.search, device=self.compute)

    def test(self, model: nn.Module) -> float:
        """Return a network's quality on the test set."""
        return evaluate(model, self.data.test, device=self.compute)

    def test_file(self, file: Path, progress: Progress) -> float:
        """Return a file's quality on the test set, see `evaluate_file`."""
        return evaluate_file(file, self.data.test, progress)

    def try_training(self, learner: nn.Module, teacher: nn.Module) -> str:
        """Take one training step with the smallest batch to come."""
        batches = [
            smallest_batch(part, recovery_batch_size(len(part)), self.compute)
            for part in (self.data.train, self.data.with_search_learned().train)
        ]
        return try_training(learner, min(batches, key=lambda batch: len(batch[1])), self.compute)

    def finetune(self, learner: nn.Module, teacher: nn.Module, how: Finetuning) -> History:
        """Learn the labels and what the teacher gives; see `amc_hw.training.loop.train`."""
        data = self.data.with_search_learned() if how.learn_search else self.data
        by_heart = knows_by_heart(teacher, self.data, self.compute)
        recipe = recovery_recipe(len(data.train), how.epochs, by_heart=by_heart, optimizer=suited_optimizer(learner))
        try:
            return train(
                learner,
                data,
                recipe,
                seed=how.seed,
                teacher=teacher,
                device=self.compute,
                progress=how.progress,
                state_path=how.state,
                listener=how.listener,
            )
        except DivergedError as error:
            cure = "train the network in a way of your own, with task=, or not, epochs=0"
            raise DivergedError(error.happened, cure) from error

    def short_finetune(
        self, learner: nn.Module, teacher: nn.Module, macs: float, seed: int, progress: Progress = SILENT
    ) -> float:
        """Learn some of the images; return the accuracy on the validation split, 0 of a network that does not learn.

        Where the best weights are kept, a network that is as good as the teacher for all that the split tells (within
        one standard error) has nothing to learn that so few images could show.
        """
        images = tuning_images(macs)
        few = few_images(self.data, images, seed)
        epochs = min(MOST_EPOCHS, max(1, images // len(few.train)))
        recipe = recovery_recipe(len(few.train), epochs, len(self.data.train), optimizer=suited_optimizer(learner))
        enough = math.inf
        if not recipe.keep_last:
            accuracy = self.validate(teacher)
            enough = accuracy - standard_error(accuracy, len(self.data.search))
        try:
            tuned = train(
                learner,
                few,
                recipe,
                seed=seed,
                teacher=teacher,
                device=self.compute,
                progress=progress,
                enough=enough,
            )
            return tuned.kept_accuracy
        except DivergedError:
            return 0.0


def tuning_images(macs: float) -> int:
    """Return how many images a short fine-tune learns, at most: fewer where the network is large."""
    return int(min(MOST_IMAGES, max(LEAST_IMAGES, TUNING_MACS / macs)))


def few_images(data: Data, images: int, seed: int) -> Data:
    """Return the data with so many training images, drawn once, or all where there are fewer."""
    drawn = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))[:images]
    part = replace(data.train, positions=data.train.positions[drawn], labels=data.train.labels[drawn])
    return replace(data, train=part)


def knows_by_heart(model: nn.Module, data: Data, device: torch.device) -> bool:
    """Tell whether a network has as good as all of its training images right; some of them are asked."""
    return evaluate(model, few_images(data, ASKED, seed=0).train, device=device) >= BY_HEART


def require_classes(model: nn.Module, data: Data) -> None:
    """Refuse a network whose output is not one score for each class: accuracy would mean nothing.

    Raises:
        UsageError: that, or the network does not run on images.
        UnsupportedModelError: it takes images of another size only.
    """
    try:
        output = _output(model, data.image_size)
    except Exception as error:  # whatever a forward raises
        _require_size(model, data)
        cure = "give the data (data=) or the task (task=) that it is for"
        raise not_running(f"the images of {data.name}", error, cure) from error
    if not isinstance(output, Tensor):
        raise UsageError(
            f"the network gives a {type(output).__name__} where one tensor of class scores is needed; give the task "
            "(task=) that it is for, or wrap it so that it gives the scores alone."
        )
    if tuple(output.shape) != (1, data.num_classes):
        raise UsageError(
            f"the network gives scores of shape {tuple(output.shape[1:])} for an image, and {data.name} has "
            f"{data.num_classes} {counted(data.train.labels)}; give the network and the data that belong together."
        )


def _output(model: nn.Module, image_size: tuple[int, int, int]) -> Any:
    with torch.no_grad():
        return model.eval()(torch.zeros(1, *image_size))


def _require_size(model: nn.Module, data: Data) -> None:
    """Refuse images that a network does not run on where it takes another size."""
    channels, height, width = data.image_size
    for side in USUAL_SIZES:
        try:
            _output(model, (channels, side, side))
        except Exception:
            continue
        cure = f"write them at {side}x{side} pixels" if has_own_size(data.name) else f"give image_size={side}"
        raise UnsupportedModelError(
            f"the network does not run on images of {height}x{width} pixels, but of {side}x{side}; {cure}."
        )


def evaluate_file(file: Path, part: Part, progress: Progress) -> float:
    """Return the `quality` of an exported file as a fraction.

    Raises:
        UsageError: the file does not exist, takes other images than the data set has, or gives fewer scores.
    """
    model = load_file(file)
    wanted, what, given, done = count_of(part.labels), counted(part.labels), list[Tensor](), 0
    for images, _ in part.batches(EVALUATION_BATCH):
        if model.image_size != tuple(images.shape[1:]):
            raise UsageError(
                f"{file.name} takes images of (channels, height, width) {model.image_size}, "
                f"the data has {tuple(images.shape[1:])}."
            )
        scores = np.asarray(model(images.numpy()))
        numbers = scores.size / len(images)
        if numbers < wanted or numbers % 1 or (is_multi_label(part.labels) and numbers > wanted):
            raise UsageError(
                f"{file.name} gives {numbers:g} numbers for an image, the data has {wanted} {what}; "
                "export the network with a score for each of them."
            )
        given.append(told(torch.from_numpy(scores.reshape(len(images), -1)), part.labels))
        done += len(images)
        progress(f"evaluating {file.name}", done, len(part))
    return quality(torch.cat(given), part.labels.cpu())
