"""Top-1 accuracy on a part of a data set, or mean average precision where images have several labels."""

from __future__ import annotations

import torch
from scipy.special import bdtrc
from torch import Tensor, nn

from amc_hw.data.dataset import Part
from amc_hw.data.labels import quality, told
from amc_hw.tracing.same import SEVERAL
from amc_hw.training.recipe import placed


def evaluate(model: nn.Module, part: Part, batch_size: int = 128, device: str | torch.device = "cpu") -> float:
    """Return a network's `quality` on a part as a fraction; the model is left as it was."""
    place = torch.device(device)
    with placed(model, place, part.first(SEVERAL, seed=0)[0]):
        return accuracy_in_place(model, part, place, batch_size)


def accuracy_in_place(model: nn.Module, part: Part, device: torch.device, batch_size: int = 128) -> float:
    """Score a model that is on the device already."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            given = [told(model(images), part.labels) for images, _ in part.batches(batch_size, device=device)]
    finally:
        model.train(was_training)
    return quality(torch.cat(given).cpu(), part.labels.cpu())


def clearly_more(right: Tensor, before: Tensor) -> bool:
    """Tell whether more images are right than before by more than chance: a one-sided sign test at 5 %.

    It asks only the images on which the two differ; five that are won and none that is lost are enough.

    Args:
        right: which images are right, bool (n,).
        before: which of the same images were.
    """
    won, lost = int((right & ~before).sum()), int((before & ~right).sum())
    return won > lost and chance_of(won, won + lost, 0.5) <= 0.05


def chance_of(right: int, images: int, share: float) -> float:
    """Return the probability that guesses, each right with a probability of ``share``, get at least so many right."""
    return float(bdtrc(right - 1, images, share))
