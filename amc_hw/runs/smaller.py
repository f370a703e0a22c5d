"""Smaller networks that a run is held against: how users name them, and what smaller.json says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from amc_hw.policy import Metric, Precision
from amc_hw.runs.records import FileRecord, Record
from amc_hw.runs.values import Count, Number, Positive


class SmallerNetwork(Record):
    """One of them, before the search, as a file of the run's precision.

    Attributes:
        name: as it was given.
        weights: their SHA-256.
        latency_ms: on the device, timed in turns with the original.
        size_bytes: of the file.
        macs: multiply-accumulates for one image.
        params: parameters.
        used: the largest share of a budget that it uses.
        keeps: whether it keeps all budgets.
        score: what the search maximises, 0..1.
    """

    name: str
    weights: str
    latency_ms: Positive
    size_bytes: Count
    macs: Count
    params: Count
    used: Positive
    keeps: bool
    score: Number


class SmallerNetworks(FileRecord):
    """smaller.json: ``budgets`` are the run's, by their metrics, and ``original_score`` is that of its original."""

    precision: Precision
    budgets: dict[Metric, str]
    original_score: Number
    networks: list[SmallerNetwork]


def by_name(given: object) -> object:
    """Return the checkpoints of networks by their names; each may be given as a text, ``NAME=CHECKPOINT``.

    Raises:
        ValueError: a text is something else, or a name comes twice.
    """
    if isinstance(given, Mapping) or not isinstance(given, Iterable) or isinstance(given, str):
        return given
    found: dict[str, str] = {}
    for text in given:
        name, checkpoint = _parts(str(text))
        if name in found:
            raise ValueError(f"'{name}' is named twice; name each network once")
        found[name] = str(Path(checkpoint).expanduser().resolve())
    return found


def _parts(text: str) -> tuple[str, str]:
    """Split at the first equals sign, or in ``path/to/file.py:function=CHECKPOINT`` at the first behind the path."""
    place = text.find("=", max(0, text.find(".py:")))
    if place < 1 or place == len(text) - 1:
        raise ValueError(f"'{text}' is no NAME=CHECKPOINT; write for example resnet20=resnet20.pt")
    return text[:place], text[place + 1 :]
