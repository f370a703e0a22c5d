"""The ingredients of a training: recipe, learning rate, distillation, averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw.data.labels import is_multi_label, label_loss
from amc_hw.errors import UsageError
from amc_hw.tracing.same import TOLERANCE, outputs, random_like, relative_difference
from amc_hw.training.optimizer import OptimizerName

# As in Tian et al., arXiv:1910.10699: 0.9 of the loss is the teacher's, at temperature 4.
TEACHER_WEIGHT = 0.9
_TEMPERATURE = 4.0


SMALL = 5120
"""Training images under which a data set is small: an epoch is 40 steps there, of batches under 128."""
RATE, LEAST_RATE, RATE_OF_AN_EPOCH = 0.03, 0.01, 0.001
"""SGD's for batches of 128: the full learning rate, and what fewer epochs of fine-tuning have, by their number, where
the original knows a large data set by heart: what a high rate takes away comes back in many small steps only."""
LEAST_BATCH = 8
"""Images a step of fine-tuning: batch norm's statistics of fewer tell little, and of a single one nothing."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the training images.
        lr: the highest learning rate.
        batch_size: images a step.
        weight_decay: of the weights; biases and batch norms have none.
        warmup_epochs: epochs in which the learning rate rises, half of `epochs` at most.
        ema: decay a step of the averaged weights, which are then the ones that are scored and kept.
        keep_last: end with the last epoch's weights instead of the best on the validation split.
        optimizer: see `amc_hw.training.optimizer`.

    Raises:
        UsageError: an impossible value.
    """

    epochs: int
    lr: float
    batch_size: int = 128
    weight_decay: float = 1e-4
    warmup_epochs: float = 1.0
    ema: float | None = None
    keep_last: bool = False
    optimizer: OptimizerName = "sgd"

    def __post_init__(self) -> None:
        for name, right, allowed in (
            ("epochs", self.epochs >= 0, "0 or more"),
            ("lr", 0 < self.lr < math.inf, "above 0"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("warmup_epochs", self.warmup_epochs >= 0, "0 or more"),
            ("ema", self.ema is None or 0 < self.ema < 1, "between 0 and 1"),
        ):
            if not right:
                raise UsageError(f"{name} must be {allowed}, not {getattr(self, name)}.")

    def learning_rate(self, step: int, steps_per_epoch: int) -> float:
        """Linear warm-up (never more than half of the training), then a cosine to 0 (arXiv:1608.03983)."""
        total = self.epochs * steps_per_epoch
        warmup = min(round(self.warmup_epochs * steps_per_epoch), total // 2)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        return self.lr * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def demo_recipe() -> Recipe:
    """Return what takes ``mobilenet_v1_cifar_0.5`` to 98 % or more on the digits.

    Small batches, because the training set is small: with 128 images a step there are too few steps to learn in.
    """
    return Recipe(epochs=14, lr=0.05, batch_size=32, weight_decay=1e-3)


def recovery_recipe(
    images: int,
    epochs: int,
    drawn_from: int | None = None,
    *,
    by_heart: bool = True,
    optimizer: OptimizerName = "sgd",
) -> Recipe:
    """Return what gives a pruned network its accuracy back with so many training images, maybe drawn from more.

    A high rate leaves behind what the network remembers of its training images, and needs many epochs: with few, it can
    end with a worse network than it began with (`benchmarks/finetuning_rate.py`). So of an original that knows them by
    heart the rate grows with the epochs. One that still errs on many of them has little to lose and more to learn, and
    its pruned network has the whole rate; so has a short fine-tune of a few images of a large data set, which tells
    what a long one would come to. A short warm-up is better than a whole epoch of it. Few images are learned in small
    batches, and the rate shrinks with the batch (Goyal et al., arXiv:1706.02677, section 2.1); AdamW's, whose steps do
    not grow with the gradient, by the root of it (arXiv:2205.10287).

    Of large data sets the last weights are kept, because the validation split does not choose fairly there: it is part
    of the training set that most checkpoints were trained on, so a pruned network begins with a memory of its
    images, which fades. Of small ones the split chooses, and the network as it came is a candidate: a few hundred
    steps move a network at random by more than they teach it, and a memory of the split can only keep what there
    is. Averaged weights (Polyak and Juditsky 1992) move less.
    """
    small = (drawn_from or images) < SMALL
    batch_size = recovery_batch_size(images)
    share = batch_size / 128
    careful = by_heart and not small and drawn_from is None
    sgd = min(RATE, max(LEAST_RATE, RATE_OF_AN_EPOCH * epochs)) if careful else RATE
    return Recipe(
        epochs=epochs,
        lr=sgd * share if optimizer == "sgd" else 1e-3 * math.sqrt(share),
        batch_size=batch_size,
        weight_decay=5e-4 if optimizer == "sgd" else 0.05,
        warmup_epochs=0.3,
        ema=0.98 if small else None,
        keep_last=not small,
        optimizer=optimizer,
    )


def recovery_batch_size(images: int) -> int:
    """Return the images a step of `recovery_recipe`."""
    return max(LEAST_BATCH, min(128, images // 40))


def distillation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return Hinton et al.'s loss (arXiv:1503.02531, section 2) between logits (N, classes), in nats."""
    ours, theirs = (F.log_softmax(each.float() / _TEMPERATURE, dim=1) for each in (logits, target))
    return _TEMPERATURE**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def multi_label_distillation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the same for independent labels (N, labels): each is a problem of two classes (arXiv:2308.06453, 3.2)."""
    ours, theirs = (each.float() / _TEMPERATURE for each in (logits, target))
    wanted = theirs.sigmoid()
    divergence = wanted * (F.logsigmoid(theirs) - F.logsigmoid(ours))
    divergence = divergence + (1 - wanted) * (F.logsigmoid(-theirs) - F.logsigmoid(-ours))
    return _TEMPERATURE**2 * divergence.sum(1).mean()


def batch_loss(logits: Tensor, target: Tensor | None, labels: Tensor) -> Tensor:
    """Return the loss of a batch: of its labels, and with a teacher's outputs mostly of what differs from these."""
    loss = label_loss(logits, labels)
    if target is None:
        return loss
    distill = multi_label_distillation_loss if is_multi_label(labels) else distillation_loss
    return (1 - TEACHER_WEIGHT) * loss + TEACHER_WEIGHT * distill(logits, target)


@contextmanager
def placed(model: nn.Module, device: torch.device, images: Tensor, *, learns: bool = False) -> Iterator[None]:
    """Move a model to a device, channels-last if it can be because convolutions are faster so, and back afterwards.

    Args:
        model: the network.
        device: where it goes.
        images: a few that it takes (N, C, H, W); see `lay_channels_last`.
        learns: it will run in training mode there, too.
    """
    home = next((each.device for each in model.parameters()), device)
    model.to(device)
    try:
        lay_channels_last(model, images.to(device), learns=learns)
        yield
    finally:
        lay_contiguous(model.to(home))


def lay_channels_last(model: nn.Module, images: Tensor, *, learns: bool = False) -> None:
    """Lay a model's weights channels-last, where it then still computes the same for random images of a shape.

    Where it does not, they stay contiguous: ``x.view(...)`` refuses most maps that lie channels-last.
    """
    images = random_like(images)
    before = outputs(model, images)
    trains = learns and _trains(model, images)
    model.to(memory_format=torch.channels_last)
    try:
        same = relative_difference(before, outputs(model, images)) <= TOLERANCE
    except Exception:  # whatever a forward raises; the same weights ran before
        same = False
    if not same or (trains and not _trains(model, images)):
        lay_contiguous(model)


def lay_contiguous(model: nn.Module) -> None:
    """Undo `lay_channels_last`, also for weights of one input channel.

    These lie both ways, so ``Module.to`` leaves them their strides, which convolutions take for channels-last.
    """
    for each in (*model.parameters(), *model.buffers()):
        if each.ndim in (4, 5):
            each.data = each.data.clone(memory_format=torch.contiguous_format)


def _trains(model: nn.Module, images: Tensor) -> bool:
    """Tell whether a copy of a network runs in training mode."""
    trial = copy.deepcopy(model).train()
    try:
        with torch.no_grad(), torch.random.fork_rng([images.device] if images.device.type == "cuda" else []):
            trial(images)
    except Exception:  # whatever a forward raises; `amc_hw.training.trial` says what is wrong
        return False
    return True


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Follow the model's weights; the first steps follow faster, or the start would weigh too much."""
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
