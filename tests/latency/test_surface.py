"""A family's staircase is found from its entries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amc_hw.latency.surface import Surface
from amc_hw.latency.table import Entry

CONV = "CONV_2D 1x28x28xC,1x28x28xC k=1x1 s=1 pad=same"


def stairs_us(c_in: int, c_out: int, tile: int) -> float:
    return 5 + 0.01 * c_in * math.ceil(c_out / tile) * tile


def entries(tile: int, noise: float = 0.0, count: int = 60) -> list[Entry]:
    random = np.random.default_rng(tile)
    found = []
    for _ in range(count):
        c_in, c_out = (int(c) for c in random.integers(16, 128, 2))
        found.append(Entry.of(CONV, c_in, c_out, stairs_us(c_in, c_out, tile) * random.normal(1, noise, 8)))
    return found


@pytest.mark.parametrize("tile", [1, 8, 16, 32])
def test_the_tile_is_found(tile: int) -> None:
    assert Surface(entries(tile, noise=0.005)).tile == tile


def test_predictions_do_not_interpolate_across_a_step() -> None:
    surface = Surface(entries(16))
    at = np.array([60.0, 60.0, 60.0])
    below, on, above = surface.predict_us(at, np.array([63.0, 64.0, 65.0]))
    assert below == pytest.approx(on, rel=0.02)
    assert above == pytest.approx(stairs_us(60, 65, 16), rel=0.05)
    assert above > on * 1.1


def test_unstable_entries_weigh_less() -> None:
    good = entries(8, count=12)
    wrong = [entry.model_copy(update={"mean_us": 3 * entry.mean_us, "unstable": True}) for entry in good[:4]]
    truth = stairs_us(64, 64, 8)
    at = np.array([64.0])
    marked = Surface([*good, *wrong]).predict_us(at, at)[0]
    unmarked = Surface([*good, *(entry.model_copy(update={"unstable": False}) for entry in wrong)]).predict_us(at, at)[
        0
    ]
    assert abs(marked / truth - 1) < abs(unmarked / truth - 1)


def test_coverage_is_what_was_measured() -> None:
    surface = Surface([Entry.of(CONV, 16, 32, [1.0]), Entry.of(CONV, 64, 128, [9.0])])
    assert surface.covers(16, 128)
    assert not surface.covers(15, 64)
    assert not surface.covers(32, 129)
