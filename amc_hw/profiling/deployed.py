"""A network as its device runs it: the file format and the batch size."""

from __future__ import annotations

from torch import Tensor

from amc_hw.devices.base import Device
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import find_format
from amc_hw.formats.template import lower
from amc_hw.tracing.traced import TracedModel


def template_for(device: Device, trained: TracedModel) -> GraphTemplate:
    """Return the operators that a device runs, as functions of the channel counts."""
    return lower(trained.model, trained.network, example_for(device, trained), find_format(device.format))


def example_for(device: Device, trained: TracedModel) -> Tensor:
    """Return example images (N, C, H, W) of the device's batch size."""
    return trained.example.expand(device.fingerprint().batch_size, -1, -1, -1)
