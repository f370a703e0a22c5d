"""What a training step is made of: the network put into training, its loss, and a first step to try both."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Part
from amc_hw.errors import UnsupportedModelError
from amc_hw.processes import is_first_process
from amc_hw.tracing.plain import copyable_copy
from amc_hw.training.number_format import fast_training
from amc_hw.training.recipe import batch_loss, placed

_LOG = logging.getLogger(__name__)

_LEFT_OUT = (
    "the network does not give one tensor of class scores while it trains ({}); its other heads are left out of the "
    "training."
)
_Model = TypeVar("_Model", bound=nn.Module)
Batch = tuple[Tensor, Tensor]
"""Images (n, C, H, W) and their labels (n,), or (n, labels)."""


@dataclass(frozen=True)
class Start:
    """How a network is put into training; call it with the network.

    Attributes:
        put: does it.
        note: what is left out of the training, a sentence; empty where nothing is.
    """

    put: Callable[[nn.Module], object]
    note: str = ""

    def __call__(self, model: nn.Module) -> None:
        """Put a network into training."""
        self.put(model)


def whole(model: nn.Module) -> None:
    """Put a network into training as its own ``train`` does it."""
    model.train()


def without_heads(model: nn.Module) -> None:
    """Put a network's layers into training, and what calls them into evaluation: ``if self.training`` is not taken."""
    model.train()
    for module in model.modules():
        if next(module.children(), None) is not None:
            module.training = False


def step_loss(model: nn.Module, teacher: nn.Module | None, images: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a batch: of the labels, and with a teacher mostly of what differs from its outputs."""
    target = None
    with fast_training(images.device):
        logits = model(images)
        if teacher is not None:
            with torch.no_grad():
                target = teacher(images)
    return batch_loss(logits, target, labels)


def find_start(model: nn.Module, batch: Batch, *, quiet: bool = False) -> Start:
    """Return how a network is put into training so that it gives its scores; a copy takes one step so.

    A network that gives more while it trains (auxiliary heads), or whose further heads do not fit it once channels
    were removed, is trained without these heads, and that is said: exported files do not have them.

    Args:
        model: the network; it is left as it is.
        batch: as small as any that it will learn.
        quiet: the user knows what is left out.

    Raises:
        UnsupportedModelError: it cannot be trained on such a batch.
    """
    failures = []
    for put in (whole, without_heads):
        try:
            _try(model, put, batch)
        except Exception as error:  # whatever a user's forward raises
            failures.append(error)
            continue
        note = _LEFT_OUT.format(_sentence(failures[0])) if failures else ""
        if note and not quiet:
            tell("%s", note)
        return Start(put, note)
    raise UnsupportedModelError(
        f"one step of training failed on a batch of {len(batch[0])} images ({type(failures[-1]).__name__}: "
        f"{_sentence(failures[-1])}); the network has to run in training mode (model.train()) on such a batch, too: "
        "change its forward, or learn larger batches."
    )


def try_training(model: nn.Module, batch: Batch, device: torch.device) -> str:
    """Take one training step with a copy of a network, and raise what would stop its training later.

    Returns:
        What will be left out of the training, a sentence; empty where nothing will.
    """
    images, labels = (each.to(device) for each in batch)
    with placed(model, device, images, learns=True):
        return find_start(model, (images, labels)).note


def smallest_batch(part: Part, batch_size: int, device: torch.device) -> Batch:
    """Return images and labels as few as those of any batch in which a part is learned."""
    return part.first(min(part.batch_sizes(batch_size)), 0, device)


def thawed(model: _Model) -> _Model:
    """Return a network all of whose parameters learn: itself, or a copy where some are frozen, and say so."""
    note = note_of_frozen(model)
    if not note:
        return model
    tell("%s", note)
    return copyable_copy(model).requires_grad_(True)


def note_of_frozen(model: nn.Module) -> str:
    """Return the sentence for parameters that do not learn; empty where all do."""
    frozen = sum(not each.requires_grad for each in model.parameters())
    return (
        f"{frozen} of the network's parameter tensors are frozen; they are fine-tuned with the others."
        if frozen
        else ""
    )


def thaw_if_none_learns(model: nn.Module) -> None:
    """Let all parameters learn, and say so, where none would."""
    if not any(each.requires_grad for each in model.parameters()):
        tell("all parameters of the network are frozen; all are trained")
        model.requires_grad_(True)


def tell(text: str, *values: object) -> None:
    """Log a line for the user, once for all processes."""
    if is_first_process():
        _LOG.warning(text, *values)


def _try(model: nn.Module, put: Callable[[nn.Module], object], batch: Batch) -> None:
    images, labels = batch
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(images).shape
    trial = copy.deepcopy(model)
    put(trial)
    with torch.random.fork_rng([images.device] if images.device.type == "cuda" else []):
        output = trial(images)
        if not isinstance(output, Tensor):
            raise TypeError(f"it gives a {type(output).__name__}")
        if output.shape != expected:
            raise TypeError(f"it gives scores of shape {tuple(output.shape)} instead of {tuple(expected)}")
        torch.autograd.backward(step_loss(trial, None, images, labels))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
