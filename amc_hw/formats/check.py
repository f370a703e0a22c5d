"""A file's content is held against the network it was made from, by numbers, before the file is written."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map

from amc_hw.errors import UnsupportedModelError
from amc_hw.tracing.inputs import is_float, moved, taken, tensors_of
from amc_hw.tracing.same import outputs

_LOG = logging.getLogger(__name__)

NEAR_IMAGES = 16
MOST_NAMED = 8
_WIDER = {".tflite": ", such as int16x8.", ".aten": ", such as bf16, or fp32."}
"""Precisions of formats that hold more numbers than others, for a message."""
TOLERANCE = 1e-4
"""Largest difference to PyTorch's outputs that is let pass, relative to the largest output."""


def require_same(model: nn.Module, written: Callable[[np.ndarray], np.ndarray], example_input: Any, path: Path) -> None:
    """Raise UnsupportedModelError where a file's outputs would differ from the network's, on random inputs.

    Args:
        model: the network.
        written: runs the file's content: images (N, C, H, W) float32 to its first output.
        example_input: (N, C, H, W), or other inputs; only their shapes count, and whole numbers are taken as they are.
        path: the file, for the message.
    """
    generator = torch.Generator().manual_seed(0)
    images = tree_map(
        lambda each: torch.rand(each.shape, generator=generator) if is_float(each) else each, example_input
    )
    difference = output_difference(model, written, images)
    if not difference <= TOLERANCE:
        raise UnsupportedModelError(
            f"{path} would compute something else than the PyTorch network (relative difference {difference:.1e}); "
            "the converter mistook one of its operators."
        )


def require_near(model: nn.Module, written: Callable[[np.ndarray], np.ndarray], calibration: Any, path: Path) -> None:
    """Raise UnsupportedModelError where rounding has left nothing of one of a network's outputs.

    Channels of which it has left nothing are named in a warning: a class that no image shows is no loss.

    Args:
        model: the network.
        written: runs the file's content, in another precision; see `output_difference`.
        calibration: training images (N, C, H, W), or other inputs; some of them are looked at.
        path: the file, for the message.
    """
    images = moved(taken(calibration, slice(NEAR_IMAGES)), "cpu")
    for expected, actual in _both(model, written, images):
        if actual.size != expected.size:
            raise UnsupportedModelError(f"{path} would give other outputs than the network; choose another precision=.")
        if not np.issubdtype(expected.dtype, np.floating):
            continue
        error = np.asarray(actual, np.float64).reshape(expected.shape) - expected
        spread = float((expected - expected.mean(0)).std()) or float(np.abs(expected).max())
        noise = float(np.sqrt(np.square(error).mean()))
        if not noise <= spread:
            raise UnsupportedModelError(
                f"{path} would say nothing of the network's outputs any more (rounding changes them by {noise:.3g}, "
                f"images by {spread:.3g}); choose another precision={_WIDER.get(path.suffix, '.')}"
            )
        if lost := _lost_channels(expected, error):
            named = ", ".join(map(str, lost[:MOST_NAMED])) + (" ..." if len(lost) > MOST_NAMED else "")
            _LOG.warning(
                "%s: rounding changes the channels %s of an output %s more than images do, because all have one scale; "
                "if they matter, choose io=float32 or another precision=.",
                *(path, named, "x".join(map(str, expected.shape[1:]))),
            )


def _lost_channels(expected: np.ndarray, error: np.ndarray) -> list[int]:
    """Return the places along the shortest axis of an output of several that rounding changes more than images do.

    Args:
        expected: the network's output (N, ...); one of a single axis beside N, as of classes, has no channels here.
        error: of the file's.
    """
    if expected.ndim < 3:
        return []
    axis = 1 + int(np.argmin(expected.shape[1:]))
    others = tuple(each for each in range(expected.ndim) if each != axis)
    spread = (expected - expected.mean(0)).std(others)
    return [int(place) for place in np.flatnonzero((np.sqrt(np.square(error).mean(others)) > spread) & (spread > 0))]


def output_difference(model: nn.Module, written: Callable[[np.ndarray], np.ndarray], images: Any) -> float:
    """Return the largest difference between the outputs of both, relative to PyTorch's largest; NaN if none.

    Of a file that has the first output only, that is compared.
    """
    differences = [_difference(actual, expected) for expected, actual in _both(model, written, images)]
    return max(differences, default=math.nan)


def _both(
    model: nn.Module, written: Callable[[np.ndarray], np.ndarray], images: Any
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the outputs of a network, each with that of its file; a file without one has an empty one in its place."""
    expected = [each.numpy() for each in tensors_of(outputs(model, images))]
    inputs = [each.numpy() for each in tensors_of(images)]
    every: Callable[[list[np.ndarray]], list[np.ndarray]] | None = getattr(written, "outputs", None)
    if every is None or not expected:
        return [(each, written(*inputs)) for each in expected[:1]]
    given = every(inputs)
    if len(given) == 1:
        return [(expected[0], given[0])]
    return list(zip_longest(expected, given, fillvalue=np.zeros(0, np.float32)))


def _difference(actual: np.ndarray, reference: np.ndarray) -> float:
    if actual.size != reference.size:
        return math.inf
    actual = actual.reshape(reference.shape)  # a file may have dropped a dimension of one
    return float(np.abs(actual - reference).max() / max(np.abs(reference).max(), 1e-6))
