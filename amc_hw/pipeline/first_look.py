"""A look at the network before the work: whether it can be trained, and whether it knows anything of the images."""

from __future__ import annotations

from dataclasses import replace

import torch

from amc_hw.budget.bounds import Bounds, OutOfReachError
from amc_hw.budget.network_costs import macs_cost, params_cost
from amc_hw.data.dataset import Part
from amc_hw.pipeline.settings import parse_budgets
from amc_hw.pipeline.trained import TrainedModel, require_trainable
from amc_hw.runs.config import RunConfig
from amc_hw.training.evaluation import chance_of, evaluate
from amc_hw.training.trial import tell

LOOKED_AT = 500
"""Images that tell a network that knows something from one that guesses."""
LEVEL = 0.01
"""Probability, at most, with which a guessing network would get as many images right as one that is taken to know."""


def looked_at(trained: TrainedModel, *, by_accuracy: bool) -> TrainedModel:
    """Return a network with what its user should know of it in its notes, which is said, too.

    Args:
        trained: the network, with its weights.
        by_accuracy: whether it is for telling the classes of the data apart, and nothing of the user's own.

    Raises:
        UnsupportedModelError: it cannot be trained; see `require_trainable`.
    """
    left_out = require_trainable(trained)
    guesses = doubt_of_accuracy(trained) if by_accuracy else ""
    if guesses:
        tell("%s", guesses)
    return replace(trained, notes=tuple(filter(None, (*trained.notes, left_out, guesses))))


def require_counts_in_reach(config: RunConfig, trained: TrainedModel) -> None:
    """Refuse budgets of MACs and parameters that no choice of channels keeps: that takes no measurement to tell.

    Raises:
        BudgetError: the message says the least that can be reached.
    """
    costs = {"macs": macs_cost, "params": params_cost}
    for budget in parse_budgets(config):
        if budget.metric in costs and config.granularity == "channels":
            cost = costs[budget.metric](trained.network)
            whole = cost(trained.network.original)
            try:
                Bounds(cost, trained.decisions, min(budget.allowed(whole), whole))
            except OutOfReachError as error:
                raise error.as_asked(None if budget.ratio is None else whole) from error


def doubt_of_accuracy(trained: TrainedModel) -> str:
    """Return the sentence for a network that is no better than guessing on the validation split; empty for another.

    Guessing is to name the most frequent class of the images, or any.

    Args:
        trained: the network, with its weights.
    """
    part = _few(trained.data.search)
    images = len(part)
    most = int(torch.bincount(part.labels.cpu()).max()) / images
    chance = max(most, 1 / trained.data.num_classes)
    accuracy = evaluate(trained.model, part, device=trained.compute)
    if not is_guessing(round(accuracy * images), images, chance):
        return ""
    return (
        f"the original network gets {accuracy:.1%} of {images} images of the validation split right, which is no "
        f"better than guessing ({chance:.1%}): mostly it was trained on images that are normalised or cut in another "
        "way, or with its classes in another order, or its weights were never trained; check the checkpoint and the "
        "data set."
    )


def is_guessing(right: int, images: int, chance: float) -> bool:
    """Tell whether so many images that are right may well be chance (one-sided binomial test, at `LEVEL`).

    Of so few images that a perfect network could not show what it knows, nothing is told.

    Args:
        right: images that a network gets right.
        images: all that it was shown.
        chance: share that a guess gets right.
    """
    return chance**images <= LEVEL and chance_of(right, images, chance) > LEVEL


def _few(part: Part) -> Part:
    """Return some images of a part, always the same."""
    chosen = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[:LOOKED_AT]
    return replace(part, positions=part.positions[chosen], labels=part.labels[chosen])
