"""Formats whose files can be written here."""

from __future__ import annotations

import pytest

from amc_hw.formats.registry import FORMATS, Format

WRITERS = {"tflite": "litert_torch", "onnx": "onnxscript", "pte": "executorch"}
"""The package that a format is written with; without one it needs none."""


def available(name: str) -> Format:
    """Return a format; skip the test where what writes it is not installed."""
    if writer := WRITERS.get(name):
        pytest.importorskip(writer)
    return FORMATS[name]
