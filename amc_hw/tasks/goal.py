"""A task, as the pipeline works with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data
from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.registry import FileModel
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.search.scoring import NetworkScore
from amc_hw.training.state import History

_LOG = logging.getLogger(__name__)

Writes = Callable[[nn.Module], FileModel]
"""A network on the CPU to what runs its file."""


def runnable(write: Writes, model: nn.Module) -> FileModel | None:
    """Return what runs a network's file, or None, which is said, where there can be no such file."""
    try:
        return write(model)
    except UnsupportedModelError as error:
        _LOG.warning("a policy counts as worth nothing, because it has no file that runs: %s", error)
        return None


@dataclass(frozen=True)
class Finetuning:
    """How a network is fine-tuned.

    Attributes:
        epochs: passes over the training inputs.
        seed: where all chance comes from.
        learn_search: whether the validation split is learned, too.
        progress: is told how far the work is.
        state: a file for the state after every epoch, from which training goes on.
        listener: is told what happened so far, before the first epoch to come and after every one.
    """

    epochs: int
    seed: int
    learn_search: bool = False
    progress: Progress = SILENT
    state: Path | None = None
    listener: Callable[[History], None] | None = None


class Goal(Protocol):
    """What a network is for."""

    @property
    def name(self) -> str:
        """The data set's name; empty where there is none."""

    @property
    def metric(self) -> str:
        """What the figures are called."""

    @property
    def compute(self) -> torch.device:
        """Where tensors are worked on; the networks themselves stay on the CPU."""

    @property
    def data(self) -> Data:
        """The data set of a network that tells its classes apart; raise UsageError where there is none."""

    @property
    def example(self) -> Any:
        """One input, in a batch of its own."""

    @property
    def training_images(self) -> int:
        """How many images are learned; 0 where that is the task's own affair."""

    @property
    def search_images(self) -> int | None:
        """On how many images a score is an accuracy; None where it is something else."""

    @property
    def test_images(self) -> int | None:
        """The same of the test set."""

    @property
    def test_set(self) -> str | None:
        """What tells the test set from another; None where that is the task's own affair."""

    def require_fit(self, model: nn.Module) -> None:
        """Raise UnsupportedModelError where a network and this do not belong together."""

    def statistics(self, count: int, seed: int) -> tuple[Any, Tensor | None]:
        """Return training inputs where they are worked on, in one batch, with their classes if they have some."""

    def calibration(self) -> Any:
        """Return training inputs that tell the ranges of activations, in one batch on the CPU."""

    def score(self, write: Writes | None = None) -> NetworkScore:
        """Return what a search maximises: of the network, or of the files that it becomes."""

    def validate(self, model: nn.Module) -> float:
        """Return how good a network is on the images that a search scores on, 0..1."""

    def test(self, model: nn.Module) -> float:
        """Return how good a network is on the test set, 0..1."""

    def test_file(self, file: Path, progress: Progress) -> float:
        """Return how good an exported file is on the test set, 0..1."""

    def try_training(self, learner: nn.Module, teacher: nn.Module) -> str:
        """Try the first step of a training with a copy of a network.

        Args:
            learner: the network.
            teacher: the original.

        Returns:
            What will be left out of the training, a sentence; empty where nothing will.

        Raises:
            AmcHwError: the network cannot be trained.
        """

    def finetune(self, learner: nn.Module, teacher: nn.Module, how: Finetuning) -> History:
        """Fine-tune a network in place, or go on where that stopped."""

    def short_finetune(
        self, learner: nn.Module, teacher: nn.Module, macs: float, seed: int, progress: Progress = SILENT
    ) -> float | None:
        """Fine-tune a network for a moment.

        Args:
            learner: the network.
            teacher: the original.
            macs: the original's multiply-accumulates.
            seed: where all chance comes from.
            progress: is told how far it is, where the task knows.

        Returns:
            Its score then; None where it has to be asked for.
        """
