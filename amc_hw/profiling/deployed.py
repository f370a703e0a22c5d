"""A trained as its device runs it: the file format, the batch size, and the names of the exported files."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from amc_hw.devices.base import Device
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import FORMATS, find_format
from amc_hw.formats.template import lower
from amc_hw.trace.traced import TracedModel

ORIGINAL, MODEL = "original", "model"


def template_for(device: Device, trained: TracedModel) -> GraphTemplate:
    """Return the operators that a device runs, as functions of the channel counts."""
    return lower(trained.model, trained.network, example_for(device, trained), find_format(device.format))


def example_for(device: Device, trained: TracedModel) -> Tensor:
    """Return example images (N, C, H, W) of the device's batch size."""
    return trained.example.expand(device.fingerprint().batch_size, -1, -1, -1)


def exported(run: Path, name: str, format_name: str) -> Path:
    """Return the path of an exported file of a run: ``model.onnx``."""
    return run / f"{name}.{format_name}"


def all_exported(run: Path, name: str) -> list[Path]:
    """Return the paths of an exported file of a run in every format, whether they are there or not."""
    return [exported(run, name, format_name) for format_name in FORMATS]
