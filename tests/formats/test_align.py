"""Kernels of a runtime find their operators, though some operators were fused and names differ."""

from __future__ import annotations

import pytest

from amc_hw.errors import DeviceError
from amc_hw.formats.align import align
from amc_hw.latency.mobilenet_v1 import mobilenet_v1_operators
from amc_hw.latency.operators import Operator

MAP = ((1, 8, 8, 4),)
PAD = Operator("PAD", (), MAP, ((1, 10, 10, 4),))
CONV = Operator("CONV_2D", ("k=3x3",), MAP, MAP, 36)
DEPTHWISE = Operator("DEPTHWISE_CONV_2D", ("k=3x3",), MAP, MAP, 9)
ADD = Operator("ADD", (), MAP * 2, MAP)
DENSE = Operator("FULLY_CONNECTED", (), ((1, 4),), ((1, 10),), 4)


def test_an_interpreters_own_names_fit_one_to_one() -> None:
    operators = mobilenet_v1_operators()
    assert align(operators, [operator.kind for operator in operators]) == list(range(len(operators)))


def test_fused_operators_are_passed_over_and_added_copies_counted_to_the_one_before() -> None:
    operators = [PAD, CONV, DEPTHWISE, ADD, DENSE]
    kernels = [
        "Convolution (NHWC, F32) IGEMM",
        "Convolution (NHWC, F32) DWConv",
        "Add (ND, F32)",
        "Transpose (ND, X32) Transpose",
        "Fully Connected (NC, F32) GEMM",
    ]
    assert align(operators, kernels) == [1, 2, 3, 3, 4]


def test_a_filter_is_never_passed_over() -> None:
    assert align([CONV, ADD, ADD], ["Copy", "CONV_2D", "ADD", "ADD"]) == [None, 0, 1, 2]
    with pytest.raises(DeviceError, match="fit no operator"):
        align([CONV, ADD], ["Softmax", "Softmax", "Sigmoid"])


def test_what_prepares_a_filters_input_is_counted_with_it() -> None:
    kernels = ["Convert (NC, F32, QDU8)", "Convolution (NHWC, QDU8, F32, QC8W) IGEMM", "Add (ND, F32)"]
    dense = ["Convert (NC, F32, QD8)", "Fully Connected (NC, QD8, F32, QC8W) GEMM"]
    assert align([CONV, ADD, DENSE], [*kernels, *dense]) == [0, 0, 1, 2, 2]
