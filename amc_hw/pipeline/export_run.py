"""The network of a run for several devices, as the file that each of them runs."""

from __future__ import annotations

from pathlib import Path

from amc_hw.devices.table_only import format_of_any
from amc_hw.pipeline.finish import batch_of, export
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder


def export_for_devices(run: RunFolder, config: RunConfig, trained: TrainedModel) -> dict[str, Path]:
    """Write a run's network for each of its devices, in its format and for its batch size; see `export`.

    Returns:
        The files by the devices' names, in the order of their folders.
    """
    files = {}
    for number, name in enumerate((config.device, *config.others), start=1):
        folder = run if number == 1 else run.on_device(number)
        folder.path.mkdir(exist_ok=True)
        files[name] = export(run, trained, format_of_any(name), batch_of(folder), folder)
    return files
