"""Pictures of a table are pages of the report's look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amc_hw.errors import UsageError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.table import Entry, LatencyTable
from amc_hw.report.table_plots import find_family, plot_layer, plot_prediction

CONV = "CONV_2D 1x8x8xC,1x8x8xC k=1x1 s=1 pad=same"
DEPTHWISE = "DEPTHWISE_CONV_2D 1x8x8xC,1x8x8xC k=3x3 s=1 pad=same"


@pytest.fixture
def predictor() -> Predictor:
    entries = [Entry.of(CONV, i, o, [1 + i * o / 10]) for i in (8, 16, 24) for o in (8, 16, 24, 32, 40, 48)]
    entries += [Entry.of(DEPTHWISE, c, c, [1 + c / 10]) for c in (8, 16, 24)]
    fingerprint = Fingerprint(
        device="d", processor="p", system="s", runtime="r", runtime_version="1", threads=1, cores="0", delegate="none"
    )
    return Predictor(LatencyTable(fingerprint=fingerprint, created="2026-01-01", method="m", entries=entries))


def test_a_layer_is_found_by_a_part_of_its_name(predictor: Predictor) -> None:
    assert find_family(predictor.table, "k=3x3") == DEPTHWISE
    assert find_family(predictor.table, CONV) == CONV  # the whole name, although it is a part of another's
    with pytest.raises(UsageError, match=f"several.*{CONV}"):
        find_family(predictor.table, "8x8")
    with pytest.raises(UsageError, match="no layer"):
        find_family(predictor.table, "LSTM")


@pytest.mark.parametrize(("family", "curves"), [(CONV, 4), (DEPTHWISE, 1)])
def test_layers_are_drawn_as_a_page(predictor: Predictor, family: str, curves: int, tmp_path: Path) -> None:
    plot_layer(predictor, family, tmp_path / "layer.html")
    text = (tmp_path / "layer.html").read_text()
    assert "<svg" in text
    assert "Output channels" in text
    assert family in text
    assert len(re.findall(r'<path class="shade s\d" d="M[\d.]+ [\d.]+H', text)) == curves
    entries = predictor.table.families()[family]
    assert text.count("<circle cx=") == len(entries)
    for entry in entries:
        assert f"<title>{entry.c_in} to {entry.c_out} channels: {entry.mean_us:.3g} µs</title>" in text


def test_predictions_are_drawn_and_other_endings_refused(tmp_path: Path) -> None:
    plot_prediction([1.0, 2.0], [1.1, 1.99], "a check", tmp_path / "check.html")
    text = (tmp_path / "check.html").read_text()
    assert "a check" in text
    assert "1 of 2 networks lie within 3 % of their prediction" in text
    assert "<title>predicted 1.000 ms, measured 1.100 ms</title>" in text
    for name in ("check.pdf", "check.png"):
        with pytest.raises(UsageError, match=r"a page, \.html"):
            plot_prediction([1.0], [1.0], "a check", tmp_path / name)
