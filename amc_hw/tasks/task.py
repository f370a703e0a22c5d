"""A task, as users write it: a metric, inputs, and how a network is scored, trained and tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn


class Task(Protocol):
    """What is good: write a class with these members, or fill an `OwnTask` with functions.

    A network that is handed over is called as the original is. It is the original made smaller, the same as its
    integer file will compute, or a file that runs (`amc_hw.formats.file_network.FileNetwork`); its scores and figures
    are from 0 to 1, and more is better.
    """

    @property
    def metric(self) -> str:
        """What the figures are called, for example ``mean IoU``."""

    @property
    def inputs(self) -> Any:
        """Some hundreds of training inputs without labels, or None where they are given beside the task.

        One batch as the network takes it (a tensor, a tuple or a dict of tensors), or several of them: a list, or a
        DataLoader.
        """

    def score(self, model: nn.Module) -> float:
        """Return how good a network is on validation inputs, which are not the test's: a search asks it often."""

    def train(self, model: nn.Module, teacher: nn.Module, epoch: int, epochs: int) -> float | None:
        """Train a network in place for one epoch.

        Args:
            model: what learns.
            teacher: the original, in evaluation mode, to learn from where that helps.
            epoch: which one, from 0.
            epochs: of them all, for a learning rate that falls.

        Returns:
            The mean loss, for the curves, if it is known.
        """

    def test(self, model: nn.Module) -> float:
        """Return how good a network is on the test set; it is asked of the finished file; before a
        search it is tried, and what it gives is not looked at."""


@dataclass(frozen=True)
class OwnTask:
    """A task of three functions.

    Attributes:
        score: see `Task.score`.
        train: see `Task.train`.
        test: see `Task.test`.
        metric: see `Task.metric`.
        inputs: see `Task.inputs`.
    """

    score: Callable[[nn.Module], float]
    train: Callable[[nn.Module, nn.Module, int, int], float | None]
    test: Callable[[nn.Module], float]
    metric: str = "score"
    inputs: Any = None
