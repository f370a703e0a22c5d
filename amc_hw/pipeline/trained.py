"""What is compressed: the trained network, its task and its trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict

import torch
from pydantic import JsonValue
from torch import nn

from amc_hw.data.dataset import Data
from amc_hw.policy import TOP1, Io, Precision
from amc_hw.pruning.pruner import BATCH, Pruner
from amc_hw.pruning.surgery import shrink
from amc_hw.quantize.simulated import BITS, Simulated
from amc_hw.tasks.by_task import goal_of
from amc_hw.tasks.goal import Goal
from amc_hw.tasks.task import Task
from amc_hw.tracing.inputs import described, moved, numbers_in
from amc_hw.tracing.traced import PruningChoices, TracedModel, trace_example
from amc_hw.training.compute import CPU

LEAST_STATISTICS, MOST_STATISTICS, STATISTICS_MACS = 640, 2560, 3.5e11
"""Images for the statistics: more of them help (2,560 images of 16 points gave a halved ResNet-20 1.4 points more than
640 of 48), and cost large networks minutes; so many as have these MACs in the original, and fit these bytes."""
STATISTICS_BYTES = 2**30


class PolicyFields(TypedDict, total=False):
    """What policy.json says of a task beside top-1 accuracy, and of inputs that are no images."""

    metric: str
    inputs: JsonValue


@dataclass(frozen=True)
class TrainedModel(TracedModel):
    """A trained network with its task.

    Attributes:
        task: what it is for.
        precision: that ships.
        io: what its files take and give.
        pruned_before: what a later round prunes instead of the model: a network of the same shape, in which the
            channels that earlier rounds took are zero.
        notes: what the reader of its results should know of it, a sentence each.
        smaller: trained networks for the same task, by their names, to be held against.
    """

    task: Goal
    precision: Precision = "fp32"
    io: Io = "float32"
    pruned_before: nn.Module | None = None
    notes: tuple[str, ...] = ()
    smaller: Mapping[str, nn.Module] = field(default_factory=dict)

    @property
    def data(self) -> Data:
        """The data set of a network that tells its classes apart; raise UsageError where there is none."""
        return self.task.data

    @property
    def compute(self) -> torch.device:
        """Where tensors are worked on; the networks themselves stay on the CPU."""
        return self.task.compute

    @property
    def policy_fields(self) -> PolicyFields:
        """What policy.json says of a task of the user's own, and of its inputs."""
        fields: PolicyFields = {} if self.task.metric == TOP1 else {"metric": self.task.metric}
        if self.image_size is None:
            fields["inputs"] = described(self.example)
        return fields

    @cached_property
    def calibration(self) -> Any:  # type: ignore[override]
        """Training inputs, on the CPU, that tell the ranges of activations."""
        return self.task.calibration()

    def as_shipped(self, model: nn.Module) -> nn.Module:
        """Return what computes with a network's weights as its file will, for fine-tuning and scoring.

        In fp32, and in precisions that are not simulated, that is the network itself.
        """
        if self.precision not in BITS:
            return model
        return Simulated(model, moved(self.calibration, next(model.parameters()).device), self.precision, self.io)

    @property
    def start(self) -> nn.Module:
        """The network that is pruned."""
        return self.model if self.pruned_before is None else self.pruned_before


def make_trained_model(
    model: nn.Module,
    source: Data | Task,
    allowed: PruningChoices | None = None,
    compute: torch.device = CPU,
    precision: Precision = "fp32",
) -> TrainedModel:
    """Trace a trained network; see `trained_for`.

    Args:
        model: the network.
        source: a data set whose classes it tells apart, or another task.
        allowed: what may be pruned.
        compute: where tensors are worked on.
        precision: that ships.
    """
    return trained_for(model, goal_of(source, model, compute), allowed, precision)


def trained_for(
    model: nn.Module, task: Goal, allowed: PruningChoices | None = None, precision: Precision = "fp32"
) -> TrainedModel:
    """Trace a trained network; see `trace_example` and `TrainedModel`.

    Args:
        model: the network.
        task: what it is for.
        allowed: what may be pruned.
        precision: that ships.

    Raises:
        UnsupportedModelError: the network and its task do not belong together, or nothing in it can be pruned.
        UsageError: a pattern that matches no layer.
    """
    task.require_fit(model)
    traced = trace_example(model, task.example, allowed)
    return TrainedModel(traced.model, traced.example, traced.network, traced.choices, traced.name, task, precision)


def make_pruner(trained: TrainedModel, seed: int, importance: str = "reconstruction") -> Pruner:
    """Gather the statistics for reconstruction from images of the training split."""
    macs = trained.network.macs(trained.network.original)
    fitting = STATISTICS_BYTES // (4 * numbers_in(trained.example))
    count = min(MOST_STATISTICS, max(LEAST_STATISTICS, int(STATISTICS_MACS / macs)), max(BATCH, fitting))
    images, labels = trained.task.statistics(count, seed)
    return Pruner(trained.start, trained.network, images, labels=labels, importance=importance)


def require_trainable(trained: TrainedModel) -> str:
    """Try one training step of the smallest network that a search may choose, with the smallest batch to come.

    Returns:
        What will be left out of the training, a sentence; empty where nothing will.

    Raises:
        UnsupportedModelError: it fails; better now than after the search.
    """
    smallest = {group: range(counts[0]) for group, counts in trained.choices.items()}
    model = shrink(trained.start, trained.network, smallest).requires_grad_(True)
    return trained.task.try_training(trained.as_shipped(model), trained.model)
