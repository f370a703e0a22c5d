"""The tables that travel with the package are sound and say how far they can be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from amc_hw.errors import TableError
from amc_hw.latency.mobilenet_v1 import CHANNELS, mobilenet_v1_operators
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.latency.shipped_tables import find_table, shipped_table, shipped_tables
from amc_hw.latency.trust import warnings


@pytest.mark.parametrize("name", shipped_tables())
def test_shipped_tables_are_sound(name: str) -> None:
    table = load_table(shipped_tables()[name])
    assert table.entries
    assert table.errors


@pytest.mark.parametrize("name", shipped_tables())
def test_a_shipped_table_is_found_by_its_devices_name(name: str, tmp_path: Path) -> None:
    assert find_table(Path(name)) == shipped_tables()[name]
    assert find_table(tmp_path / name) == tmp_path / name  # a path is a file
    with pytest.raises(TableError, match=f"neither .* nor a shipped table .*{name}"):
        find_table(Path(f"{name}x"))


@pytest.fixture
def pixel1() -> Predictor:
    path = shipped_table("pixel1")
    assert path is not None
    return Predictor(load_table(path))


def test_pixel1_predicts_each_variant_from_the_two_others_within_4_percent(pixel1: Predictor) -> None:
    for error in pixel1.table.errors.values():
        assert len(error.left_out) == 3
        assert all(abs(off) < 0.04 for off in error.left_out.values())


def test_pixel1_answers_for_any_mobilenet_v1(pixel1: Predictor) -> None:
    original = pixel1.network_ms(mobilenet_v1_operators())
    assert original == pytest.approx(123.2, rel=0.02)
    half = pixel1.network_ms(mobilenet_v1_operators([c // 2 for c in CHANNELS]))
    assert 0.2 * original < half < 0.45 * original
    assert warnings(pixel1, mobilenet_v1_operators()) == []
    told = warnings(pixel1, mobilenet_v1_operators(), mobilenet_v1_operators([max(8, c // 5) for c in CHANNELS]))
    assert "outside of the measured ones" in told[0]


def test_pixel1_warns_about_other_sizes(pixel1: Predictor) -> None:
    told = " ".join(warnings(pixel1, mobilenet_v1_operators(size=192)))
    assert "never measured" in told
    assert "CONV_2D" in told
    small = pixel1.network_ms(mobilenet_v1_operators(size=192))
    assert small == pytest.approx(123.2 * (192 / 224) ** 2, rel=0.1)


def test_pytorch_and_tensorflow_layers_share_measurements(pixel1: Predictor) -> None:
    tensorflow = mobilenet_v1_operators()[7]
    attributes = ("k=3x3", "s=2", "pad=valid", "act=relu")
    pytorch = Operator("DEPTHWISE_CONV_2D", attributes, ((1, 58, 58, 64),), ((1, 28, 28, 64),), 9)
    same = Operator(tensorflow.kind, tensorflow.attributes, ((1, 56, 56, 64),), ((1, 28, 28, 64),), 9)
    assert pixel1.operators_ms([pytorch]) == pixel1.operators_ms([same])


def test_there_is_no_table_of_an_unknown_device() -> None:
    assert shipped_table("nophone") is None
