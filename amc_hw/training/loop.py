"""Training and fine-tuning: one resumable loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data
from amc_hw.errors import DivergedError
from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.tracing.same import SEVERAL
from amc_hw.training.cuda_graph import Replayed
from amc_hw.training.distributed import Team, join
from amc_hw.training.evaluation import accuracy_in_place
from amc_hw.training.memory import keep_freed_memory
from amc_hw.training.optimizer import make_optimizer, take_step
from amc_hw.training.recipe import Recipe, average, lay_channels_last, placed
from amc_hw.training.state import History, digest, load_state, save_state
from amc_hw.training.teacher import Teacher
from amc_hw.training.trial import find_start, smallest_batch, step_loss, thaw_if_none_learns


def train(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    teacher: nn.Module | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = SILENT,
    state_path: Path | None = None,
    listener: Callable[[History], None] | None = None,
    enough: float = math.inf,
) -> History:
    """Train a model in place: SGD with Nesterov momentum or AdamW, cosine learning rate, augmented images.

    The validation split is scored before the first and after every epoch, and the model ends in eval mode with
    the best weights (or the last epoch's), also when it is interrupted. On the CPU the same seed gives the same
    result.

    Where torchrun started several processes, each learns its share of every batch and all end with the same
    weights; the first one writes the state and tells the progress. See `amc_hw.training.distributed.Team`.

    Args:
        model: of the data's image and class count; fine-tuning starts from the weights it has.
        data: `train` is learned, `search` chooses the weights unless the last are kept, `test` is not touched.
        recipe: how often, how fast, in which batches, and which weights are kept.
        teacher: a network whose outputs are learned along with the labels (arXiv:1503.02531).
        seed: of the images' order, their augmentation and dropout.
        device: where to train; in bfloat16 (autocast) where the device is fast at that.
        progress: is told how far the work is.
        state_path: a file for the state after every epoch; where it exists, training goes on from it to the
            result of an undisturbed run. It is left there at the end.
        listener: is told what happened so far, before the first epoch to come and after every one.
        enough: accuracy on the validation split at which the training ends, or does not begin.

    Raises:
        DivergedError: a loss that is no longer finite.
        UnsupportedModelError: the network does not run in training on the smallest batch; nothing was done yet.
        RunFolderError: the state cannot be written, is damaged, or belongs to another training.
    """
    keep_freed_memory()
    identity = _identity(model, data, recipe, teacher, seed)
    thaw_if_none_learns(model)
    team, place = join(torch.device(device))
    with placed(model, place, data.train.first(SEVERAL, seed=0)[0], learns=True):
        team.begin_alike(model)
        run = _Run(model, data, recipe, teacher, seed, place, team, progress if team.rank == 0 else SILENT)
        try:
            if state_path is not None and state_path.exists():
                run.restore(load_state(state_path, identity, place))
            tell = listener if listener and team.rank == 0 else _silent
            tell(run.history)
            for epoch in range(run.epochs_done, recipe.epochs):
                if run.history.kept_accuracy >= enough:
                    break
                run.epoch(epoch)
                if state_path is not None and team.rank == 0:
                    save_state(state_path, identity, run.state())
                tell(run.history)
        finally:
            model.load_state_dict(run.kept)
            model.eval()
    return run.history


def _identity(model: nn.Module, data: Data, recipe: Recipe, teacher: nn.Module | None, seed: int) -> dict[str, object]:
    """Return what two trainings have in common that give the same result."""
    of_recipe = asdict(recipe)
    if recipe.optimizer == "sgd":
        del of_recipe["optimizer"]  # states that were saved when there was no other do not have it
    return {
        **of_recipe,
        "label_smoothing": 0.0,  # states that were saved when it was an option have it
        "seed": seed,
        "data": data.name,
        "images": len(data.train),
        "teacher": teacher is not None,
        "start": digest(model),
    }


class _Run:
    """The state of one training; an epoch depends on it and on (seed, epoch) alone, so it can be resumed."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        teacher: nn.Module | None,
        seed: int,
        device: torch.device,
        team: Team,
        progress: Progress,
    ):
        self.model, self.data, self.recipe, self.seed, self.device, self.team = model, data, recipe, seed, device, team
        self.progress = progress
        self.steps_per_epoch = len(data.train.batch_sizes(recipe.batch_size))
        self.teacher: nn.Module | None = None
        if teacher is not None:
            several = data.train.first(SEVERAL, seed=0)[0].to(device)
            quick = fold_batch_norms(teacher, several).to(device)
            lay_channels_last(quick, several)
            self.teacher = Teacher(teacher, quick) if device.type == "cpu" else quick
        self.start = find_start(model, smallest_batch(data.train, recipe.batch_size, device), quiet=teacher is not None)
        self.averaged = copy.deepcopy(model) if recipe.ema else None
        self.optimizer = make_optimizer(model, recipe.optimizer, recipe.lr, recipe.weight_decay)
        self.kept = copied_state(model)
        accuracy = accuracy_in_place(model, data.search, device)
        self.history = History(start_accuracy=accuracy, kept_accuracy=accuracy)

    @property
    def epochs_done(self) -> int:
        return len(self.history.losses)

    def epoch(self, epoch: int) -> None:
        """Train for one epoch, score it, and keep its weights: always, or if none are better (the later of equals)."""
        candidate = self.model if self.averaged is None else self.averaged
        loss = self._steps(epoch)
        accuracy = accuracy_in_place(candidate, self.data.search, self.device)
        self.history.losses.append(loss)
        self.history.accuracies.append(accuracy)
        if self.recipe.keep_last or accuracy >= self.history.kept_accuracy:
            self.kept = copied_state(candidate)
            self.history.kept_epoch, self.history.kept_accuracy = epoch + 1, accuracy

    def _steps(self, epoch: int) -> float:
        recipe, total = self.recipe, self.recipe.epochs * self.steps_per_epoch
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        batches = self.data.train.batches(recipe.batch_size, True, generator, True, self.device, self.team.share)
        loss_sum, seen = torch.zeros((), device=self.device), 0
        self.model.eval()  # a simulated network looks at its ranges then: of these weights, also where it goes on
        self.start(self.model)
        gradients = self._replayed()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed() + self.team.rank)  # dropout draws from the global generator
            for step, (images, labels) in enumerate(batches, start=epoch * self.steps_per_epoch):
                for group in self.optimizer.param_groups:
                    group["lr"] = recipe.learning_rate(step, self.steps_per_epoch)
                loss_sum += len(labels) * self._step(gradients, images, labels)
                seen += len(labels)
                if self.averaged is not None:
                    average(self.averaged, self.model, recipe.ema or 0.0, step)
                self.progress("training", step + 1, total, self._text(epoch))
        for trained in (self.model, self.averaged):
            if trained is not None:
                self.team.average_statistics(trained)
        loss = self.team.mean(loss_sum / seen, seen).item()
        if not math.isfinite(loss):
            raise DivergedError(
                f"training diverged in epoch {epoch + 1}: the loss is {loss}",
                f"choose a learning rate below {recipe.lr}",
            )
        return loss

    def _replayed(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what computes gradients; on a GPU by a graph of this epoch, with the ranges of a simulated network."""
        alone_on_gpu = self.device.type == "cuda" and self.team.size == 1  # NCCL's own thread may break a capture
        return Replayed(self._gradients, self.model.parameters()) if alone_on_gpu else self._gradients

    def _step(self, gradients: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
        loss = gradients(images, labels)
        self.team.average_gradients(self.model, len(images))
        take_step(self.optimizer)
        return loss

    def _gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """Leave the loss's gradients in the parameters and return it."""
        self.optimizer.zero_grad()
        loss = step_loss(self.model, self.teacher, images, labels)
        torch.autograd.backward(loss)
        return loss.detach()

    def _text(self, epoch: int) -> str:
        accuracy = [self.history.start_accuracy, *self.history.accuracies][-1]
        return f"epoch {epoch + 1}/{self.recipe.epochs}, validation split {accuracy:.1%}"

    def state(self) -> dict[str, object]:
        """Return everything that the next epoch depends on."""
        return {
            "history": asdict(self.history),
            "model": self.model.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "kept": self.kept,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state of this training."""
        self.history = History(**state["history"])
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.kept = state["kept"]


def copied_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's weights and buffers."""
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def _silent(*_: object) -> None:
    """Report to nobody."""
