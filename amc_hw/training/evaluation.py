"""Top-1 accuracy on a part of a data set."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Part
from amc_hw.tracing.same import SEVERAL
from amc_hw.training.recipe import placed


def evaluate(model: nn.Module, part: Part, batch_size: int = 128, device: str | torch.device = "cpu") -> float:
    """Return the top-1 accuracy on a part as a fraction; the model is left as it was."""
    place = torch.device(device)
    with placed(model, place, part.first(SEVERAL, seed=0)[0]):
        return accuracy_in_place(model, part, place, batch_size)


def accuracy_in_place(model: nn.Module, part: Part, device: torch.device, batch_size: int = 128) -> float:
    """Score a model that is on the device already."""
    return share(right_in_place(model, part, device, batch_size))


def right_in_place(model: nn.Module, part: Part, device: torch.device, batch_size: int = 128) -> Tensor:
    """Tell which images of a part a model on the device gets right: booleans (n,), on the CPU."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            batches = part.batches(batch_size, device=device)
            return torch.cat([model(images).argmax(1) == labels for images, labels in batches]).cpu()
    finally:
        model.train(was_training)


def share(right: Tensor) -> float:
    """Return the share of images that are right, 0..1."""
    return int(right.sum()) / len(right)


def clearly_more(right: Tensor, before: Tensor) -> bool:
    """Tell whether more images are right than before by more than chance: a one-sided sign test at 5 %.

    It asks only the images on which the two differ; five that are won and none that is lost are enough.
    """
    won, lost = int((right & ~before).sum()), int((before & ~right).sum())
    differ = won + lost
    as_many = sum(math.comb(differ, number) for number in range(won, differ + 1))
    return as_many <= 0.05 * 2.0**differ
