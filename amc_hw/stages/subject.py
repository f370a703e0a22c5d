"""What is compressed: the trained network, its data and its trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from amc_hw.config import RunConfig
from amc_hw.data import Data, load_data
from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.models.checkpoint import load_checkpoint
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.policy import channel_choices
from amc_hw.trace.groups import Network, trace

BASELINE = "baseline.pt"


@dataclass(frozen=True)
class Subject:
    """A trained network with all that a search needs to know of it.

    Attributes:
        model: in evaluation mode.
        data: the data set with its three parts.
        example: one image (1, C, H, W).
        network: the trace.
        choices: for every group the channel counts to choose from, ascending, the original's last.
    """

    model: nn.Module
    data: Data
    example: Tensor
    network: Network
    choices: dict[str, tuple[int, ...]]


def load_model_and_data(model: str, data: str, data_root: str | None, seed: int = 0) -> tuple[nn.Module, Data]:
    """Build a network (untrained) for a data set."""
    loaded = load_data(data, Path(data_root) if data_root else None, default_image_size(model))
    return build_model(model, loaded.num_classes, loaded.image_size[0], seed=seed), loaded


def load_subject(config: RunConfig, checkpoint: Path | None) -> Subject:
    """Build, load and trace the network of a run.

    Args:
        config: the run's settings.
        checkpoint: file of trained weights.

    Raises:
        UsageError: an unknown name, or no checkpoint.
        CheckpointError: the checkpoint does not fit.
        UnsupportedModelError: nothing in the network can be pruned.
    """
    model, data = load_model_and_data(config.model, config.data, config.data_root, config.seed)
    if checkpoint is None:
        raise UsageError(
            f"the trained weights of {config.model} are missing; give --checkpoint FILE, "
            f"or make them with: amc-hw train --model {config.model} --data {config.data} --out FILE"
        )
    load_checkpoint(model, checkpoint)
    return make_subject(model, data, config.multiple, config.lower)


def make_subject(model: nn.Module, data: Data, multiple: int, lower: float) -> Subject:
    """Trace a trained network."""
    model.eval()
    example = torch.zeros(1, *data.image_size)
    network = trace(model, example)
    if not network.groups:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in list(network.unprunable.items())[:3])
        raise UnsupportedModelError(f"no layer of this network can be pruned ({reasons}).")
    choices = {group.name: channel_choices(group.channels, multiple, lower) for group in network.groups}
    return Subject(model, data, example, network, choices)
