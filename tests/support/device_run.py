"""A whole compression of the tiny network on a device that is handed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from commands import TINY

from amc_hw.devices.base import Device
from amc_hw.pipeline.begin import begin
from amc_hw.pipeline.compress import compress_job
from amc_hw.pipeline.job import Job
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.search.scoring import OwnScore


def compressed(run: Path, checkpoint: Path, device: Device, **settings: Any) -> dict:
    """Compress, by default to 0.6x, all policies being equally good; return what summary.json holds."""
    tiny = {"model": TINY, "checkpoint": str(checkpoint), "data": "digits", "budget": "0.6x", "precision": "fp32"}
    quick = {"strategy": "uniform", "episodes": 1, "epochs": 1}
    folder = RunFolder(run)
    config, trained = begin(folder, make_config(**tiny | quick | settings), SILENT)
    return compress_job(Job(folder, config, trained, device, OwnScore(lambda model: 0.5)), SILENT).document()
