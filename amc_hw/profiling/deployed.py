"""A network as its device runs it: the file format, the precision and the batch size."""

from __future__ import annotations

import logging
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from amc_hw.devices.base import Device
from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.check import require_near
from amc_hw.formats.export import file_content, float_content
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.refill import Refill
from amc_hw.formats.registry import Format, find_format
from amc_hw.formats.template import lower
from amc_hw.policy import Precision
from amc_hw.profiling.converted import converted_once
from amc_hw.pruning.surgery import policy_of
from amc_hw.runs.files import write_bytes
from amc_hw.tracing.inputs import repeated, tensors_of
from amc_hw.tracing.traced import TracedModel
from amc_hw.training.state import digest

_LOG = logging.getLogger(__name__)
_REFILLS: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], Refill | None]] = WeakKeyDictionary()


def template_for(device: Device, trained: TracedModel) -> GraphTemplate:
    """Return the operators that a device runs, as functions of the channel counts."""
    return lower(
        trained.model, trained.network, example_for(device, trained), _format(device, trained, device.precision)
    )


def export_for(device: Device, trained: TracedModel, model: nn.Module, path: Path) -> None:
    """Write a pruned version of a network as a device runs it, so that it can be timed; see `DeployedFiles`.

    Raises:
        UnsupportedModelError: it cannot be converted, or rounding leaves nothing of one of its outputs.
        RunFolderError: the file cannot be written.
    """
    files = DeployedFiles(device, trained, device.precision, example_for(device, trained))
    write_bytes(path, files.checked(model, path))


def export_float(device: Device, trained: TracedModel, path: Path) -> None:
    """Write the trained network in fp32; see `export`."""
    kind = converted_once(find_format(device.format))
    write_bytes(path, float_content(kind, trained.model, example_for(device, trained), path))


def content_for(device: Device, trained: TracedModel, model: nn.Module) -> bytes:
    """Return what `export_for` would write, of a network whose outputs mean nothing: they are not looked at."""
    kind = find_format(device.format).with_io(device.precision, trained.io)
    path, example = Path(f"the {kind.name} file"), example_for(device, trained)
    return file_content(kind, model, example, path, device.precision, trained.calibration)


def example_for(device: Device, trained: TracedModel) -> Any:
    """Return example inputs of the device's batch size."""
    return repeated(trained.example, device.fingerprint().batch_size)


def _format(device: Device, trained: TracedModel, precision: Precision) -> Format:
    kind = converted_once(find_format(device.format))
    return kind.in_precision(precision, trained.calibration, trained.io)


class DeployedFiles:
    """Writes versions of a network as a device runs them; call it with the version.

    Pruned versions are written without the converter where that gives the same (`Refill`), which takes milliseconds.

    Args:
        device: which format.
        trained: the network.
        precision: of the files.
        example: inputs whose shapes the files are for; by default one image.
    """

    def __init__(self, device: Device, trained: TracedModel, precision: Precision, example: Any = None) -> None:
        self._format = find_format(device.format).with_io(precision, trained.io)
        self._trained = trained
        self._precision = precision
        self._example = trained.example if example is None else example

    def __call__(self, model: nn.Module) -> bytes:
        """Return the content of a file.

        Raises:
            UnsupportedModelError: the network cannot be converted.
        """
        float_file, calibration = partial(self._float_file, model), self._trained.calibration
        return self._format.quantized(model, self._example, float_file, self._precision, calibration)

    def _float_file(self, model: nn.Module) -> bytes:
        if self._refill is not None:
            try:
                return self._refill(model, policy_of(self._trained.model, self._trained.network, model))
            except UnsupportedModelError as error:
                _LOG.warning("%s It is converted, which takes some seconds.", error)
        return float_content(self._format, model, self._example, Path(f"the {self._format.name} file"))

    def checked(self, model: nn.Module, path: Path) -> bytes:
        """Return the content of a file that rounding has left something of; ``path`` is for the message.

        Raises:
            UnsupportedModelError: the network cannot be converted, or nothing is left of one of its outputs.
        """
        content = self(model)
        if self._precision != "fp32":
            written = self._format.load_quantized(content, self._precision)
            require_near(model, written, self._trained.calibration, path)
        return content

    @cached_property
    def _refill(self) -> Refill | None:
        return _refill_of(self._format, self._trained, self._example)


def _refill_of(kind: Format, trained: TracedModel, example: Any) -> Refill | None:
    """Return what writes a network's pruned versions, made once in a process; None, once said, where nothing can."""
    known = _REFILLS.setdefault(trained.model, {})
    key = (kind.name, digest(trained.model), *(tuple(each.shape) for each in tensors_of(example)))
    if key not in known:
        try:
            template = lower(trained.model, trained.network, example, converted_once(kind))
            known[key] = Refill(template, trained, example, kind.load)
        except UnsupportedModelError as error:
            _LOG.warning("the converter writes every pruned file, in some seconds each, to the same effect: %s", error)
            known[key] = None
    return known[key]
