"""A network as its device runs it: the file format, the precision and the batch size."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from amc_hw.devices.base import Device
from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.refill import Refill
from amc_hw.formats.registry import Format, export, file_content, find_format
from amc_hw.formats.template import lower
from amc_hw.policy import Precision
from amc_hw.pruning.surgery import policy_of
from amc_hw.tracing.inputs import repeated
from amc_hw.tracing.traced import TracedModel

_LOG = logging.getLogger(__name__)


def template_for(device: Device, trained: TracedModel) -> GraphTemplate:
    """Return the operators that a device runs, as functions of the channel counts."""
    return lower(
        trained.model, trained.network, example_for(device, trained), _format(device, trained, device.precision)
    )


def export_for(device: Device, trained: TracedModel, model: nn.Module, path: Path) -> None:
    """Write a network, the trained one or a pruned version, as a device runs it; see `export`."""
    export(model, example_for(device, trained), path, device.precision, trained.calibration, trained.io)


def content_for(device: Device, trained: TracedModel, model: nn.Module) -> bytes:
    """Return what `export_for` would write, of a network whose outputs mean nothing: they are not looked at."""
    kind = find_format(device.format).with_io(device.precision, trained.io)
    path, example = Path(f"the {kind.name} file"), example_for(device, trained)
    return file_content(kind, model, example, path, device.precision, trained.calibration)


def example_for(device: Device, trained: TracedModel) -> Any:
    """Return example inputs of the device's batch size."""
    return repeated(trained.example, device.fingerprint().batch_size)


def _format(device: Device, trained: TracedModel, precision: Precision) -> Format:
    return find_format(device.format).in_precision(precision, trained.calibration, trained.io)


class DeployedFiles:
    """Writes versions of a network as a device runs them, images one by one; call it with the version.

    Pruned versions are written without the converter where that gives the same (`Refill`), which takes milliseconds.

    Args:
        device: which format.
        trained: the network.
        precision: of the files.
    """

    def __init__(self, device: Device, trained: TracedModel, precision: Precision) -> None:
        self._format = find_format(device.format).with_io(precision, trained.io)
        self._trained = trained
        self._precision = precision

    def __call__(self, model: nn.Module) -> bytes:
        """Return the content of a file.

        Raises:
            UnsupportedModelError: the network cannot be converted.
        """
        if self._refill is not None:
            try:
                policy = policy_of(self._trained.model, self._trained.network, model)
                content = self._refill(model, policy)
            except UnsupportedModelError as error:
                _LOG.warning("%s It is converted, which takes some seconds.", error)
            else:
                return self._format.quantized(model, content, self._precision, self._trained.calibration.numpy())
        path, calibration = Path(f"the {self._format.name} file"), self._trained.calibration
        return file_content(self._format, model, self._trained.example, path, self._precision, calibration)

    @cached_property
    def _refill(self) -> Refill | None:
        trained = self._trained
        try:
            template = lower(trained.model, trained.network, trained.example, self._format)
            return Refill(template, trained.model, trained.example, self._format.load)
        except UnsupportedModelError as error:
            _LOG.warning("every policy is converted, which takes some seconds for each: %s", error)
            return None
