"""Families of different exporters share a key where the kernel's work is the same."""

from __future__ import annotations

import pytest

from amc_hw.latency.families import is_family, kind_of, sizes, work_of
from amc_hw.latency.mobilenet_v1 import mobilenet_v1_operators
from amc_hw.latency.operators import Operator


@pytest.mark.parametrize(
    ("tensorflow", "pytorch"),
    [
        (
            "DEPTHWISE_CONV_2D 1x112x112xC,1x56x56xC k=3x3 s=2 pad=same act=relu6",
            "DEPTHWISE_CONV_2D 1x114x114xC,1x56x56xC k=3x3 s=2 pad=valid act=relu",
        ),
        (
            "CONV_2D 1x14x14xC,1x14x14xC k=1x1 s=1 pad=same act=relu6",
            "CONV_2D 1x14x14xC,1x14x14xC k=1x1 s=1 pad=valid",
        ),
        ("CONV_2D 1x1x1xC,1x1x1xC k=1x1 s=1 pad=same", "FULLY_CONNECTED 1xC,1xC"),
        ("AVERAGE_POOL_2D 1x7x7xC,1x1x1xC s=2 k=7 pad=valid", "MEAN 1x7x7xC,1xC"),
    ],
)
def test_same_work_has_one_key(tensorflow: str, pytorch: str) -> None:
    assert work_of(tensorflow) == work_of(pytorch)
    assert kind_of(tensorflow) == kind_of(pytorch)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CONV_2D 1x8x8xC,1x8x8xC k=3x3 s=1 pad=same", "CONV_2D 1x8x8xC,1x8x8xC k=1x1 s=1 pad=same"),
        ("CONV_2D 1x8x8xC,1x8x8xC k=1x1 s=1 pad=same", "CONV_2D 1x16x16xC,1x8x8xC k=1x1 s=2 pad=same"),
        ("CONV_2D 1x8x8xC,1x8x8xC k=3x3 s=1 pad=same", "CONV_2D 1x8x8xC,1x8x8xC k=3x3 s=1 pad=same grouped"),
        ("CONV_2D 1x8x8xC,1x8x8xC k=3x3 s=1 pad=same act=tanh", "CONV_2D 1x8x8xC,1x8x8xC k=3x3 s=1 pad=same"),
        ("MEAN 1x7x7xC,1xC", "MEAN 1x8x8xC,1xC"),
        ("ADD 1x7x7xC,1x7x7xC,1x7x7xC", "MUL 1x7x7xC,1x7x7xC,1x7x7xC"),
    ],
)
def test_different_work_has_different_keys(one: str, other: str) -> None:
    assert work_of(one) != work_of(other)


def test_sizes_count_what_the_operator_does() -> None:
    for operator in mobilenet_v1_operators():
        size = sizes(operator.family, operator.c_in, operator.c_out)
        if operator.fan_in:
            assert size.macs == operator.macs
    conv = sizes("CONV_2D 1x56x56xC,1x28x28xC k=3x3 s=2 pad=same", 16, 32)
    assert (conv.inputs, conv.outputs, conv.weights) == (56 * 56 * 16, 28 * 28 * 32, 9 * 16 * 32)
    pool = sizes("MEAN 1x7x7xC,1xC", 64, 64)
    assert (pool.inputs, pool.outputs, pool.macs) == (49 * 64, 64, 0)
    add = sizes("ADD 1x7x7xC,1x7x7xC,1x7x7xC", 8, 8)
    assert (add.inputs, add.outputs) == (2 * 49 * 8, 49 * 8)


def test_families_of_operators_are_recognised_and_noise_is_not() -> None:
    scalar = Operator("RESHAPE", (), ((1, 8),), ((),))
    assert all(is_family(operator.family) for operator in (*mobilenet_v1_operators(), scalar))
    for text in ("", "CONV_2D", "conv 1xC", "CONV_2D 1xD", "CONV_2D 1xC,", "CONV_2D 1xC k=\n", "X" * 500 + " C"):
        assert not is_family(text)
