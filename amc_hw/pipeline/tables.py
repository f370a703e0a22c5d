"""The commands about latency tables: a network is traced, its device opened, and the table made or checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from amc_hw.devices.base import Device
from amc_hw.devices.turns import device_in_turn
from amc_hw.latency.table import LatencyTable
from amc_hw.models.zoo import build_from_file, build_model, default_image_size
from amc_hw.policy import Precision
from amc_hw.profiling.check import TableCheck, check_table
from amc_hw.profiling.profile import profile, profile_like, require_alike, require_tables
from amc_hw.runs.config import CLASSIFY
from amc_hw.runs.progress import Progress
from amc_hw.tasks.by_task import goal_of
from amc_hw.tasks.user_file import load_task
from amc_hw.tracing.plain import with_plain_weights
from amc_hw.tracing.traced import TracedModel, trace_example


@dataclass(frozen=True)
class AskedTable:
    """Whose latency table is asked for: a network's, whose weights do not matter, on a device.

    Attributes:
        model: the network's name.
        device: the device's name.
        table: the table's file, or None for the device's default one.
        image_size: side in pixels, or None for the network's own.
        classes: outputs of the network.
        precision: of the files that are measured.
        like: a device that this one resembles, or its table's file: a new table begins with that one.
        in_channels: channels of the images.
        task: the user's own task, whose inputs the network takes; the size, classes and channels are not asked then.
    """

    model: str
    device: str
    table: Path | None
    image_size: int | None
    classes: int
    precision: Precision = "fp32"
    like: str | None = None
    in_channels: int = 3
    task: str = CLASSIFY


@contextmanager
def _opened(asked: AskedTable, progress: Progress) -> Iterator[tuple[Device, TracedModel, Progress]]:
    """Open the device and trace the network; see `device_in_turn`."""
    network, example = _network(asked)
    with device_in_turn(asked.device, progress, precision=asked.precision) as (device, progress):
        require_tables(device, asked.table)
        if asked.like is not None:
            require_alike(device, asked.like, asked.table)
        network, _ = with_plain_weights(network, example)  # as a run compresses it
        yield device, replace(trace_example(network, example), name=asked.model), progress


def _network(asked: AskedTable) -> tuple[nn.Module, Any]:
    """Return the network, with any weights, and one of its inputs."""
    if asked.task != CLASSIFY:
        network = build_from_file(asked.model)
        return network, goal_of(load_task(asked.task, network), network).example
    size = asked.image_size or default_image_size(asked.model)
    return build_model(asked.model, asked.classes, asked.in_channels), torch.zeros(1, asked.in_channels, size, size)


def profile_model(asked: AskedTable, seed: int, progress: Progress) -> tuple[LatencyTable, Path]:
    """Measure what a device's table lacks for a network, or did not measure well itself; return it and its file.

    Args:
        asked: the network and the device.
        seed: decides which channel counts are measured.
        progress: is told how far the work is.
    """
    with _opened(asked, progress) as (device, traced, progress):
        if asked.like is not None:
            return profile_like(device, traced, asked.like, asked.table, seed, progress)
        measured, path, _ = profile(device, traced, asked.table, seed, progress, renew=True)
    return measured, path


def check_predictions(
    asked: AskedTable, networks: int, seed: int, progress: Progress, *, export_all: bool = False
) -> TableCheck:
    """Measure random pruned networks beside their predictions; see `amc_hw.profiling.check.check_table`."""
    with _opened(asked, progress) as (device, traced, progress):
        return check_table(device, traced, asked.table, networks, seed, progress, export_all=export_all)
