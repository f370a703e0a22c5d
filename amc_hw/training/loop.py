"""Training and fine-tuning: one resumable loop."""

from __future__ import annotations

import copy
import hashlib
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data, Part
from amc_hw.errors import RunFolderError, UsageError
from amc_hw.models.checkpoint_file import load_plain
from amc_hw.pruning.folding import folded
from amc_hw.runs.files import write_bytes
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.trace.same import SEVERAL
from amc_hw.training.cuda_graph import Replayed
from amc_hw.training.distributed import Team, join
from amc_hw.training.recipe import (
    Settings,
    average,
    lay_channels_last,
    parameter_groups,
    placed,
)
from amc_hw.training.trial import Batch, find_start, step_loss, thaw_if_none_learns


class Demonstration(TypedDict):
    """Arguments of `train` that suit the built-in demonstration."""

    epochs: int
    lr: float
    batch_size: int
    weight_decay: float
    warmup_epochs: float


def demo_settings() -> Demonstration:
    """Return what takes ``mobilenet_v1_cifar_0.5`` to 98 % or more on the digits.

    Small batches, because the training set is small: with 128 images a step there are too few steps to learn in.
    """
    return {"epochs": 14, "lr": 0.05, "batch_size": 32, "weight_decay": 1e-3, "warmup_epochs": 1.0}


class Recovery(TypedDict):
    """Arguments of `train` that give a pruned network its accuracy back."""

    lr: float
    weight_decay: float
    warmup_epochs: float
    batch_size: int
    ema: float | None
    keep_last: bool


SMALL = 5120
"""Training images under which a data set is small: an epoch is 40 steps there, of batches under 128."""
LEAST_BATCH = 8
"""Images a step of fine-tuning: batch norm's statistics of fewer tell little, and of a single one nothing."""


def recovery_settings(images: int, drawn_from: int | None = None) -> Recovery:
    """Return what suits a pruned network with so many training images, which may be drawn from more.

    The rate is high enough to leave behind what the network remembers of its training images: in six epochs of
    ResNet-20 on CIFAR-10, 0.03 to 0.05 were best of 0.01 to 0.1 on images it had never seen, and a short warm-up
    better than a whole epoch of it. Few images are learned in small batches, and the rate shrinks with the batch
    (Goyal et al., arXiv:1706.02677, section 2.1).

    Of large data sets the last weights are kept, because the search split does not choose fairly there: it is part
    of the training set that most checkpoints were trained on, so a pruned network begins with a memory of its
    images, which fades. Of small ones the split chooses, and the network as it came is a candidate: a few hundred
    steps move a network at random by more than they teach it, and a memory of the split can only keep what there
    is. Averaged weights (Polyak and Juditsky 1992) move less.
    """
    small = (drawn_from or images) < SMALL
    batch_size = max(LEAST_BATCH, min(128, images // 40))
    return {
        "lr": 0.03 * batch_size / 128,
        "weight_decay": 5e-4,
        "warmup_epochs": 0.3,
        "batch_size": batch_size,
        "ema": 0.98 if small else None,
        "keep_last": not small,
    }


_STATE_FORMAT = 2


@dataclass
class History:
    """What happened: one entry an epoch; epoch 0 is the network as it came.

    Attributes:
        start_accuracy: on the search split, before the first epoch.
        losses: mean training loss of each epoch.
        accuracies: on the search split, after each epoch.
        kept_epoch: whose weights the model has now, counted from 1; 0 for those it came with.
        kept_accuracy: of those weights, on the search split.
    """

    start_accuracy: float
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    kept_epoch: int = 0
    kept_accuracy: float = 0.0


def evaluate(model: nn.Module, part: Part, batch_size: int = 128, device: str | torch.device = "cpu") -> float:
    """Return the top-1 accuracy on a part as a fraction; the model is left as it was."""
    place = torch.device(device)
    with placed(model, place, part.first(SEVERAL, seed=0)[0]):
        return _accuracy(model, part, place, batch_size)


def train(
    model: nn.Module,
    data: Data,
    *,
    epochs: int,
    lr: float,
    batch_size: int = 128,
    weight_decay: float = 1e-4,
    warmup_epochs: float = 1.0,
    label_smoothing: float = 0.0,
    teacher: nn.Module | None = None,
    ema: float | None = None,
    keep_last: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = SILENT,
    state_path: Path | None = None,
    epochs_told: Callable[[History], None] | None = None,
) -> History:
    """Train a model in place: SGD with Nesterov momentum, cosine learning rate, augmented images.

    The search split is scored before the first and after every epoch, and the model ends in eval mode with
    the best weights (or the last epoch's), also when it is interrupted. On the CPU the same seed gives the same
    result.

    Where torchrun started several processes, each learns its share of every batch and all end with the same
    weights; the first one writes the state and tells the progress. See `amc_hw.training.distributed.Team`.

    Args:
        model: of the data's image and class count; fine-tuning starts from the weights it has.
        data: `train` is learned, `search` chooses the weights unless ``keep_last``, `test` is not touched.
        epochs: passes over the training images.
        lr: the highest learning rate.
        batch_size: images a step.
        weight_decay: of the weights; biases and batch norms have none.
        warmup_epochs: epochs in which the learning rate rises, half of `epochs` at most.
        label_smoothing: the share of the target that is spread over all classes.
        teacher: a network whose outputs are learned along with the labels (arXiv:1503.02531).
        ema: decay a step of the averaged weights, which are then the ones that are scored and kept.
        keep_last: end with the last epoch's weights instead of the best on the search split.
        seed: of the images' order, their augmentation and dropout.
        device: where to train; in bfloat16 (autocast) where the device is fast at that.
        progress: is told how far the work is.
        state_path: a file for the state after every epoch; where it exists, training goes on from it to the
            result of an undisturbed run. It is left there at the end.
        epochs_told: is told what happened so far, before the first epoch to come and after every one.

    Raises:
        UsageError: an impossible setting, or a loss that is no longer finite.
        UnsupportedModelError: the network does not run in training on the smallest batch; nothing was done yet.
        RunFolderError: the state cannot be written, is damaged, or belongs to another training.
    """
    settings = Settings(epochs, lr, batch_size, weight_decay, warmup_epochs, label_smoothing, ema, keep_last, seed)
    identity = {
        **asdict(settings),
        "data": data.name,
        "images": len(data.train),
        "teacher": teacher is not None,
        "start": digest(model),
    }
    thaw_if_none_learns(model)
    team, place = join(torch.device(device))
    with placed(model, place, data.train.first(SEVERAL, seed=0)[0], learns=True):
        team.begin_alike(model)
        run = _Run(model, data, settings, teacher, place, team, progress if team.rank == 0 else SILENT)
        try:
            if state_path is not None and state_path.exists():
                run.load(state_path, identity)
            tell = epochs_told if epochs_told and team.rank == 0 else _silent
            tell(run.history)
            for epoch in range(run.epochs_done, epochs):
                run.epoch(epoch)
                if state_path is not None and team.rank == 0:
                    run.save(state_path, identity)
                tell(run.history)
        finally:
            model.load_state_dict(run.kept)
            model.eval()
    return run.history


class _Run:
    """The state of one training; an epoch depends on it and on (seed, epoch) alone, so it can be resumed."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        settings: Settings,
        teacher: nn.Module | None,
        device: torch.device,
        team: Team,
        progress: Progress,
    ):
        self.model, self.data, self.settings, self.device, self.team = model, data, settings, device, team
        self.progress = progress
        self.steps_per_epoch = len(data.train.batch_sizes(settings.batch_size))
        self.teacher = None
        if teacher is not None:
            several = data.train.first(SEVERAL, seed=0)[0].to(device)
            self.teacher = folded(teacher, several).to(device)
            lay_channels_last(self.teacher, several)
        self.start = find_start(
            model, smallest_batch(data.train, settings.batch_size, device), told=teacher is not None
        )
        self.averaged = copy.deepcopy(model) if settings.ema else None
        self.optimizer = torch.optim.SGD(
            parameter_groups(model, settings.weight_decay), lr=settings.lr, momentum=0.9, nesterov=True
        )
        alone_on_gpu = device.type == "cuda" and team.size == 1  # NCCL's own thread may break a capture
        self.gradients = Replayed(self._gradients, model.parameters()) if alone_on_gpu else self._gradients
        self.kept = _copied(model)
        accuracy = _accuracy(model, data.search, device)
        self.history = History(start_accuracy=accuracy, kept_accuracy=accuracy)

    @property
    def epochs_done(self) -> int:
        return len(self.history.losses)

    def epoch(self, epoch: int) -> None:
        """Train for one epoch, score it, and keep its weights: always, or if none are better (the later of equals)."""
        candidate = self.model if self.averaged is None else self.averaged
        loss = self._steps(epoch)
        accuracy = _accuracy(candidate, self.data.search, self.device)
        self.history.losses.append(loss)
        self.history.accuracies.append(accuracy)
        if self.settings.keep_last or accuracy >= self.history.kept_accuracy:
            self.kept = _copied(candidate)
            self.history.kept_epoch, self.history.kept_accuracy = epoch + 1, accuracy

    def _steps(self, epoch: int) -> float:
        settings, total = self.settings, self.settings.epochs * self.steps_per_epoch
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        batches = self.data.train.batches(settings.batch_size, True, generator, True, self.device, self.team.share)
        loss_sum, seen = torch.zeros((), device=self.device), 0
        self.start(self.model)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed() + self.team.rank)  # dropout draws from the global generator
            for step, (images, labels) in enumerate(batches, start=epoch * self.steps_per_epoch):
                for group in self.optimizer.param_groups:
                    group["lr"] = settings.learning_rate(step, self.steps_per_epoch)
                loss_sum += len(labels) * self._step(images, labels)
                seen += len(labels)
                if self.averaged is not None:
                    average(self.averaged, self.model, settings.ema or 0.0, step)
                self.progress("training", step + 1, total, self._text(epoch))
        for trained in (self.model, self.averaged):
            if trained is not None:
                self.team.average_statistics(trained)
        loss = self.team.mean(loss_sum / seen, seen).item()
        if not math.isfinite(loss):
            raise UsageError(
                f"training diverged in epoch {epoch + 1}: the loss is {loss}; choose a learning rate "
                f"below {settings.lr}."
            )
        return loss

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = self.gradients(images, labels)
        self.team.average_gradients(self.model, len(images))
        self.optimizer.step()
        return loss

    def _gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """Leave the loss's gradients in the parameters and return it."""
        self.optimizer.zero_grad()
        loss = step_loss(self.model, self.teacher, images, labels, self.settings.label_smoothing)
        torch.autograd.backward(loss)
        return loss.detach()

    def _text(self, epoch: int) -> str:
        accuracy = [self.history.start_accuracy, *self.history.accuracies][-1]
        return f"epoch {epoch + 1}/{self.settings.epochs}, search split {accuracy:.1%}"

    def save(self, path: Path, identity: Mapping[str, object]) -> None:
        """Write everything that the next epoch depends on."""
        buffer = io.BytesIO()
        state = {
            "format": _STATE_FORMAT,
            "identity": identity,
            "history": asdict(self.history),
            "model": self.model.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "kept": self.kept,
        }
        torch.save(state, buffer)
        write_bytes(path, buffer.getvalue())

    def load(self, path: Path, identity: Mapping[str, object]) -> None:
        """Go back to a saved state, which must be of this training."""
        try:
            state = load_plain(path, self.device)
            found = {"format": state["format"], **state["identity"]}
        except Exception as error:  # a foreign file makes torch raise almost anything
            raise RunFolderError(f"{path} is no training state; delete it to train from the start.") from error
        expected = {"format": _STATE_FORMAT, **identity}
        different = [key for key in expected if found.get(key) != expected[key]]
        if different:
            raise RunFolderError(
                f"{path} is the state of another training ({', '.join(different)} differ); "
                "delete it to train from the start."
            )
        self.history = History(**state["history"])
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.kept = state["kept"]


def _accuracy(model: nn.Module, part: Part, device: torch.device, batch_size: int = 128) -> float:
    """Score a model that is on the device already."""
    was_training = model.training
    model.eval()
    right = torch.zeros((), dtype=torch.int64, device=device)
    try:
        with torch.inference_mode():
            for images, labels in part.batches(batch_size, device=device):
                right += (model(images).argmax(1) == labels).sum()
    finally:
        model.train(was_training)
    return int(right) / len(part)


def smallest_batch(part: Part, batch_size: int, device: torch.device) -> Batch:
    """Return images and labels as few as those of any batch in which a part is learned."""
    return part.first(min(part.batch_sizes(batch_size)), 0, device)


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of the weights, by which a state knows the training that it belongs to."""
    digest = hashlib.sha256()
    for key, tensor in model.state_dict().items():
        digest.update(f"{key} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _silent(*_: object) -> None:
    """Report to nobody."""
