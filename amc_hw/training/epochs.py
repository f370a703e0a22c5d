"""Training by somebody else's epochs: each is one call, and the network is kept after every one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.errors import DivergedError
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.training.loop import copied_state
from amc_hw.training.state import History, digest, load_state, save_state

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Epochs:
    """What is trained.

    Attributes:
        learn: trains the network for the epoch of this number, from 0; returns the mean loss where it is known.
        score: how good the network is, 0..1, on inputs that are not learned; it chooses the weights.
        metric: what that is called.
        count: epochs in all.
        seed: of the global random numbers that an epoch begins with.
    """

    learn: Callable[[int], float | None]
    score: Callable[[], float]
    metric: str
    count: int
    seed: int


def train_by_epochs(
    model: nn.Module,
    epochs: Epochs,
    *,
    progress: Progress = SILENT,
    state_path: Path | None = None,
    listener: Callable[[History], None] | None = None,
) -> History:
    """Train a network in place; it ends in evaluation mode with the weights that score best, those it came with too.

    Args:
        model: the network; it is on the CPU between the epochs.
        epochs: what is trained.
        progress: is told how far the work is.
        state_path: a file for the state after every epoch; where it exists, training goes on from it.
        listener: is told what happened so far, before the first epoch to come and after every one.

    Raises:
        DivergedError: a loss or a weight that is no longer finite.
        RunFolderError: the state cannot be written, is damaged, or belongs to another training.
    """
    identity = {"metric": epochs.metric, "epochs": epochs.count, "seed": epochs.seed, "start": digest(model)}
    run = _Run(model, epochs)
    tell = listener or (lambda history: None)
    try:
        if state_path is not None and state_path.exists():
            run.restore(load_state(state_path, identity, CPU))
        else:
            run.begin()
        tell(run.history)
        for epoch in range(len(run.history.losses), epochs.count):
            progress("training", epoch, epochs.count, f"{epochs.metric} {run.last:.1%}")
            run.epoch(epoch)
            if state_path is not None:
                save_state(state_path, identity, run.state())
            tell(run.history)
            progress("training", epoch + 1, epochs.count, f"{epochs.metric} {run.last:.1%}")
    finally:
        model.load_state_dict(run.kept)
        model.eval()
    return run.history


class _Run:
    def __init__(self, model: nn.Module, epochs: Epochs) -> None:
        self.model, self.epochs = model, epochs
        self.kept: dict[str, Tensor] = copied_state(model)
        self.history = History(start_accuracy=0.0)

    @property
    def last(self) -> float:
        return [self.history.start_accuracy, *self.history.accuracies][-1]

    def begin(self) -> None:
        score = self.epochs.score()
        self.history = History(start_accuracy=score, kept_accuracy=score)

    def epoch(self, epoch: int) -> None:
        """Train for one epoch, score it, and keep its weights if none are better, the later of equals."""
        with torch.random.fork_rng([]):
            torch.manual_seed(self.epochs.seed * 1_000_003 + epoch)
            loss = self.epochs.learn(epoch)
        if not is_finite(self.model) or (loss is not None and not math.isfinite(loss)):
            raise DivergedError(
                f"training diverged in epoch {epoch + 1}: a weight or the loss is no longer finite",
                "choose a lower learning rate in the task's train",
            )
        score = self.epochs.score()
        self.history.losses.append(loss)
        self.history.accuracies.append(score)
        if score >= self.history.kept_accuracy:
            self.kept = copied_state(self.model)
            self.history.kept_epoch, self.history.kept_accuracy = epoch + 1, score

    def state(self) -> dict[str, object]:
        return {"history": asdict(self.history), "model": self.model.state_dict(), "kept": self.kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.history = History(**state["history"])
        self.model.load_state_dict(state["model"])
        self.kept = state["kept"]


def is_finite(model: nn.Module) -> bool:
    """Tell whether all weights of a network are finite: after a training that has diverged they are not."""
    return all(bool(each.isfinite().all()) for each in model.parameters())
