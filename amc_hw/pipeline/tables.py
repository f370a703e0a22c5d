"""The commands about latency tables: a network is traced, its device opened, and the table made or checked."""

from __future__ import annotations

from pathlib import Path

from amc_hw.devices.turns import device_in_turn
from amc_hw.latency.table import LatencyTable
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.policy import Precision
from amc_hw.profiling.check import TableCheck, check_table
from amc_hw.profiling.profile import profile, require_tables
from amc_hw.runs.progress import Progress
from amc_hw.tracing.traced import trace_model


def profile_model(
    model: str,
    device_name: str,
    table: Path | None,
    image_size: int | None,
    classes: int,
    seed: int,
    progress: Progress,
    precision: Precision = "fp32",
) -> tuple[LatencyTable, Path]:
    """Measure what a device's table lacks for a network, or has from a busy machine; its weights do not matter.

    Args:
        model: the network's name.
        device_name: the device's name.
        table: the table's file, or None for the device's default one.
        image_size: side in pixels, or None for the network's own.
        classes: outputs of the network.
        seed: decides which channel counts are measured.
        progress: is told how far the work is.
        precision: of the files that are measured.
    """
    size = image_size or default_image_size(model)
    network = build_model(model, classes)
    with device_in_turn(device_name, progress, precision=precision) as (device, progress):
        require_tables(device, table)
        trained = trace_model(network, (3, size, size))
        measured, path, _ = profile(device, trained, model, table, seed, progress, renew=True)
    return measured, path


def check_predictions(
    model: str,
    device_name: str,
    table: Path | None,
    image_size: int | None,
    classes: int,
    networks: int,
    seed: int,
    export_all: bool,
    progress: Progress,
    precision: Precision = "fp32",
) -> TableCheck:
    """Measure random pruned networks beside their predictions; see `amc_hw.profiling.check.check_table`."""
    size = image_size or default_image_size(model)
    with device_in_turn(device_name, progress, precision=precision) as (device, progress):
        require_tables(device, table)
        trained = trace_model(build_model(model, classes), (3, size, size))
        return check_table(device, trained, model, table, networks, seed, export_all, progress)
