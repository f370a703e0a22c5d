"""Feeding files of a fixed batch size."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amc_hw.formats.batches import Arrays, in_batches


def doubling(batch: int, by: set[int]) -> Callable[[Arrays], Arrays]:
    def run(inputs: Arrays) -> Arrays:
        by.add(threading.get_ident())
        assert len(inputs[0]) == batch
        return [2 * inputs[0], inputs[0].sum(1)]

    return run


@given(count=st.integers(1, 40), batch=st.integers(1, 5), workers=st.integers(1, 4))
def test_however_many_share_the_batches_the_order_stays(count: int, batch: int, workers: int) -> None:
    inputs = np.arange(3.0 * count).reshape(count, 3)
    doubled, summed = in_batches([doubling(batch, set()) for _ in range(workers)], [inputs], batch)
    assert np.array_equal(doubled, 2 * inputs)
    assert np.array_equal(summed, inputs.sum(1))


def test_several_work_in_threads_of_their_own() -> None:
    threads: list[set[int]] = [set(), set()]
    in_batches([doubling(1, by) for by in threads], [np.ones((8, 3))], 1)
    assert all(len(by) == 1 for by in threads)
    assert threading.get_ident() not in set.union(*threads)


def test_what_one_raises_is_raised() -> None:
    def broken(inputs: Arrays) -> Arrays:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        in_batches([doubling(1, set()), broken], [np.ones((8, 3))], 1)
