"""The ingredients of a training: settings, learning rate, distillation, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from amc_hw.errors import UsageError
from amc_hw.trace.same import TOLERANCE, outputs, random_like, relative_difference

# As in Tian et al., arXiv:1910.10699: 0.9 of the loss is the teacher's, at temperature 4.
TEACHER_WEIGHT = 0.9
_TEMPERATURE = 4.0


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, apart from the weights and the images."""

    epochs: int
    lr: float
    batch_size: int
    weight_decay: float
    warmup_epochs: float
    label_smoothing: float
    ema: float | None
    keep_last: bool
    seed: int

    def __post_init__(self) -> None:
        for name, right, allowed in (
            ("epochs", self.epochs >= 0, "0 or more"),
            ("lr", 0 < self.lr < math.inf, "above 0"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("warmup_epochs", self.warmup_epochs >= 0, "0 or more"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
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


def fast_in_bfloat16(device: torch.device) -> bool:
    """Tell whether a device multiplies in bfloat16 itself: GPUs, and processors with AVX-512 BF16 or AMX."""
    if device.type != "cpu":
        return device.type == "cuda"
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) is True for name in ("avx512_bf16", "amx_bf16"))


def distillation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return Hinton et al.'s loss (arXiv:1503.02531, section 2) between logits (N, classes), in nats."""
    ours, theirs = (F.log_softmax(each.float() / _TEMPERATURE, dim=1) for each in (logits, target))
    return _TEMPERATURE**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


class _ViewsReshape(TorchFunctionMode):
    """Copies where ``view`` refuses: networks were written for images that do not lie channels-last.

    What is then written into the view does not reach what was viewed.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.view_as:
            return args[0].reshape(args[1].shape)
        if func is torch.Tensor.view:
            sizes = args[1:] or tuple((kwargs or {}).values())
            if not isinstance(sizes[0], torch.dtype):
                return args[0].reshape(*sizes)
        return func(*args, **(kwargs or {}))


@contextmanager
def placed(model: nn.Module, device: torch.device, images: Tensor) -> Iterator[None]:
    """Move a model to a device, channels-last if it can be because convolutions are faster so, and back afterwards.

    Within the block, ``x.view(...)`` takes channels-last tensors, too, as ``x.reshape(...)`` does.

    Args:
        model: the network.
        device: where it goes.
        images: a few that it takes (N, C, H, W); see `lay_channels_last`.
    """
    home = next((each.device for each in model.parameters()), device)
    model.to(device)
    try:
        with _ViewsReshape():
            lay_channels_last(model, images.to(device))
            yield
    finally:
        model.to(home).to(memory_format=torch.contiguous_format)


def lay_channels_last(model: nn.Module, images: Tensor) -> None:
    """Lay a model's weights channels-last, where it then still computes the same for random images of a shape.

    What writes into a view of a map does not, where the view has become a copy.
    """
    images = random_like(images)
    before = outputs(model, images)
    model.to(memory_format=torch.channels_last)
    if not relative_difference(before, outputs(model, images)) <= TOLERANCE:
        model.to(memory_format=torch.contiguous_format)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimizer's groups: weight decay for weights, none for biases and batch norms."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Follow the model's weights; the first steps follow faster, or the start would weigh too much."""
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
