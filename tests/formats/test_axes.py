"""Along which axis channels lie is told from what operators do."""

from __future__ import annotations

import pytest
import torch
from small_nets import Transformer
from writers import available

from amc_hw.formats.axes import Step, channels_second


def test_a_transposition_and_a_product_of_matrices_make_tokens_of_maps() -> None:
    steps = [
        Step(["image"], ["map"]),
        Step(["map"], ["rows"]),  # flattened
        Step(["rows"], ["tokens"], order=(0, 2, 1)),
        Step(["tokens"], ["product"], multiplies=True),
        Step(["product", "tokens"], ["sum"]),
        Step(["sum"], ["heads"], order=(2, 0, 1, 3)),
        Step(["sum"], ["map again"], order=(0, 2, 1)),
        Step(["map again"], ["last"]),
    ]
    assert channels_second(["image"], steps) == {"image", "map", "rows", "map again", "last"}


@pytest.mark.parametrize("file_format", ["onnx", "aten"])
def test_the_tokens_of_a_transformer_are_no_channels(file_format: str) -> None:
    kind = available(file_format)
    operators = kind.read(kind.convert(Transformer().eval(), torch.zeros(1, 3, 16, 16))).operators()
    products = [each for each in operators if each.kind == "FULLY_CONNECTED"]
    assert [(each.c_in, each.c_out) for each in products] == [(24, 90), (30, 24), (24, 7)]
    assert [each.family for each in products[:2]] == ["FULLY_CONNECTED 1x16xC,1x16xC"] * 2
    assert [(each.c_in, each.c_out) for each in operators if each.kind == "CONV_2D"] == [(3, 24)]


def test_maps_stay_maps_where_their_rows_and_columns_are_exchanged() -> None:
    assert channels_second(["image"], [Step(["image"], ["turned"], order=(0, 1, 3, 2))]) == {"image", "turned"}


def test_inputs_that_are_tokens_are_so_behind_a_product() -> None:
    steps = [Step(["words"], ["product"], multiplies=True), Step(["words", "product"], ["sum"])]
    assert channels_second(["words"], steps) == {"words"}
