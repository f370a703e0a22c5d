"""The one way to write a network's file: converted, quantized, and held against the network before it is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from amc_hw.errors import UsageError
from amc_hw.formats import program
from amc_hw.formats.check import require_near, require_same
from amc_hw.formats.registry import Format, find_format
from amc_hw.policy import Io, Precision
from amc_hw.runs.files import write_bytes

INTEGER: tuple[Precision, ...] = ("int8", "int16x8")
"""Precisions in which everything between input and output should be whole numbers."""

_LOG = logging.getLogger(__name__)


def export(
    model: nn.Module,
    example_input: Any,
    path: Path | str,
    precision: Precision = "fp32",
    calibration: Any = None,
    io: Io = "float32",
) -> None:
    """Write ``model`` in the format of the path's ending and check that the file computes the same.

    ``.pt2`` is a program of torch.export, which runs where amc-hw is not installed (`torch.export.load`).

    A file in another precision than fp32 is made of the float file, which is checked, or of the network where the
    format's quantizer takes that, and checked itself.

    Args:
        model: any network; it is not changed.
        example_input: (N, C, H, W), or other inputs; N becomes the file's batch size.
        path: the file.
        precision: of the file.
        calibration: training images (N, C, H, W), or other inputs, that tell the ranges of activations, for ``int8``
            and ``int16x8``.
        io: what the file takes and gives; ``int8`` is for that precision alone.

    Raises:
        UsageError: an ending that is no format's, a precision or an ``io`` that the format lacks, or no images where
            it needs some.
        UnsupportedModelError: the network cannot be converted, or its outputs would differ; then no file is written.
        RunFolderError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix == f".{program.ENDING}":
        if (precision, io) != ("fp32", "float32"):
            raise UsageError(f"{path.suffix} programs are written in fp32 only; leave precision= and io= out.")
        program.export_program(model, example_input, path)
        return
    kind = find_format(path.suffix.removeprefix("."))
    kind.require_precision(precision)
    kind = kind.with_io(precision, io)
    if precision in INTEGER and calibration is None:
        raise UsageError(f"{precision} needs training images that tell the ranges of activations; give calibration=.")
    images = example_input if calibration is None else calibration
    float_file = partial(float_content, kind, model, example_input, path)
    if precision == "fp32":
        write_bytes(path, float_file())
    else:
        write_bytes(path, _quantized(kind, model, example_input, float_file, path, precision, images))


def file_content(
    kind: Format, model: nn.Module, example_input: Any, path: Path, precision: Precision, calibration: Any
) -> bytes:
    """Return the content of a network's file; a float32 file that it is made of is held against the network.

    Args:
        kind: a format that is written in the precision.
        model: any network; it is not changed.
        example_input: (N, C, H, W), or other inputs; N becomes the file's batch size.
        path: the file's, for messages.
        precision: of the file.
        calibration: training images (N, C, H, W), or other inputs, that tell the ranges of activations.

    Raises:
        UnsupportedModelError: the network cannot be converted, or the float32 file computes something else.
    """
    float_file = partial(float_content, kind, model, example_input, path)
    return kind.quantized(model, example_input, float_file, precision, calibration)


def quantize_file(
    file: Path,
    model: nn.Module,
    example_input: Any,
    path: Path,
    precision: Precision,
    calibration: Any,
    io: Io = "float32",
) -> None:
    """Write a float32 file that `export` made in another precision, and check what it computes.

    Args:
        file: the float32 file; it stays.
        model: its network.
        example_input: (N, C, H, W), or other inputs; N is the file's batch size.
        path: the file to write, of the same format.
        precision: of the new file.
        calibration: training images (N, C, H, W), or other inputs, that tell the ranges of activations.
        io: what the new file takes and gives.

    Raises:
        UsageError: the format lacks the precision or the ``io``.
        UnsupportedModelError: the network cannot be quantized, or its outputs would say nothing any more.
        RunFolderError: the file cannot be written.
    """
    kind = find_format(path.suffix.removeprefix("."))
    kind.require_precision(precision)
    kind = kind.with_io(precision, io)
    write_bytes(path, _quantized(kind, model, example_input, file.read_bytes, path, precision, calibration))


def float_content(kind: Format, model: nn.Module, example_input: Any, path: Path) -> bytes:
    """Return a network's float32 file, held against the network; see `export`."""
    content = kind.convert(model, example_input)
    require_same(model, kind.load(content), example_input, path)
    return content


def _quantized(
    kind: Format,
    model: nn.Module,
    example_input: Any,
    float_file: Callable[[], bytes],
    path: Path,
    precision: Precision,
    images: Any,
) -> bytes:
    """Return a network's file in another precision, held against the network."""
    content = kind.quantized(model, example_input, float_file, precision, images)
    require_near(model, kind.load_quantized(content, precision), images, path)
    if precision in INTEGER and kind.left_in_float is not None and (left := kind.left_in_float(content)):
        _LOG.warning("%s: %s stay in float32, which costs time on either side", path, ", ".join(left))
    if precision in INTEGER and kind.between_parts is not None and (between := kind.between_parts(content)):
        names = ", ".join(between)
        _LOG.warning("%s: XNNPACK has no %s of integers; LiteRT's own run between the parts that it takes", path, names)
    return content
