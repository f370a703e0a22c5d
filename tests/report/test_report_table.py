# ruff: noqa: RUF001 -- the report writes true minus signs, dashes and multiplication signs
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amc_hw.report.numbers import count, duration, fixed, milliseconds, points, ratio, size
from amc_hw.report.run import read_run
from amc_hw.report.table import before_after_rows, titled, use_sentence
from amc_hw.report.verdict import verdict
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.summaries import BudgetFigures, Figures, OnDevice, Summary


def test_rows_of_a_finished_run(run: Path) -> None:
    summary = RunFolder(run).summary.read()
    assert before_after_rows(summary.original, summary.compressed) == [
        ("Top-1 accuracy", "91.73 %", "90.98 %", "−0.75 points"),
        ("Top-1 before fine-tuning", "91.73 %", "85.30 %", "−6.43 points"),
        ("Latency, measured", "1.310 ms", "0.645 ms", "0.49×"),
        ("Latency, predicted", "1.300 ms", "0.646 ms", "0.50×"),
        ("MACs", "40.9 M", "18.4 M", "0.45×"),
        ("Parameters", "270 k", "105 k", "0.39×"),
    ]


def test_figures_of_a_task_are_called_by_its_metric(run: Path, edit: Callable[..., None]) -> None:
    edit(run / "summary.json", lambda summary: summary.update(metric="mean IoU"))
    finished = read_run(RunFolder(run))
    assert finished.summary is not None
    rows = before_after_rows(finished.summary.original, finished.summary.compressed, finished.metric)
    assert [name for name, *_ in rows[:3]] == ["Mean IoU", "Mean IoU before fine-tuning", "Latency, measured"]
    assert verdict(finished).headline == "2.03× faster, 0.75 points less mean IoU"


def test_the_headline_of_an_unstable_measurement_is_about(run: Path, edit: Callable[..., None]) -> None:
    edit(run / "benchmark.json", lambda benchmark: benchmark["models"][0].update(unstable=True))
    assert verdict(read_run(RunFolder(run))).headline == "about 2.0× faster, 0.75 points less accurate"


@pytest.mark.parametrize(("images", "said"), [(400, "no less accurate"), (40_000, "0.50 points more accurate")])
def test_a_gain_by_chance_is_no_news(run: Path, edit: Callable[..., None], images: int, said: str) -> None:
    def gained(summary: dict[str, Any]) -> None:
        summary["test_images"] = images
        summary["compressed"]["accuracy"] = summary["original"]["accuracy"] + 0.005

    edit(run / "summary.json", gained)
    assert verdict(read_run(RunFolder(run))).headline == f"2.03× faster, {said}"


def test_the_headline_of_several_devices_has_the_gain_on_each(run: Path, edit: Callable[..., None]) -> None:
    budget = {"metric": "latency_ms", "target": 0.7}
    phone = {
        "name": "pixel1",
        "budget": budget,
        "original": {"predicted_ms": 60.0},
        "compressed": {"predicted_ms": 40.0},
        "unverified": True,
    }

    def on_two(summary: dict[str, Any]) -> None:
        host = {"name": "host", "budget": budget, "original": summary["original"], "compressed": summary["compressed"]}
        summary["devices"] = [host, phone]

    edit(run / "summary.json", on_two)
    headline = "2.03× faster on host, by prediction 1.50× faster on pixel1, 0.75 points less accurate"
    assert verdict(read_run(RunFolder(run))).headline == headline


def test_file_sizes_have_a_row_where_they_are_known() -> None:
    rows = before_after_rows(Figures(size_bytes=1_092_000), Figures(size_bytes=431_000))
    assert rows == [("File size", "1.09 MB", "431 kB", "0.39×")]


def test_what_is_not_known_is_a_dash_or_no_row() -> None:
    assert before_after_rows(Figures(), Figures()) == []
    assert before_after_rows(Figures(), Figures(accuracy=None)) == []
    assert before_after_rows(Figures(latency_ms=1.0, accuracy=0.9), Figures(macs=1.0)) == [
        ("Top-1 accuracy", "90.00 %", "–", "–"),
        ("Latency, measured", "1.000 ms", "–", "–"),
        ("MACs", "–", "1", "–"),
    ]


def test_an_original_of_zero_has_no_ratio() -> None:
    assert before_after_rows(Figures(macs=0), Figures(macs=5)) == [("MACs", "0", "5", "–")]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (fixed(-0.001, 2), "0.00"),
        (fixed(-1.5, 1), "−1.5"),
        (points(0.0012), "+0.12 points"),
        (points(0.000001), "0.00 points"),
        (milliseconds(0.0123), "0.0123 ms"),
        (milliseconds(12.345), "12.35 ms"),
        (milliseconds(1234.5), "1234 ms"),
        (milliseconds(0.0428, scale=1.3), "0.043 ms"),
        (count(999.6), "1.00 k"),
        (count(999_999), "1.00 M"),
        (count(569e6), "569 M"),
        (count(4.1e12), "4,100 G"),
        (size(12), "12 B"),
        (ratio(0.031), "0.031×"),
        (duration(7.25), "7.25 s"),
        (duration(252), "4 min 12 s"),
        (duration(7300), "2 h 1 min"),
    ],
)
def test_numbers_are_written_as_people_read_them(written: str, text: str) -> None:
    assert written == text


@given(st.floats(0, 1e15), st.floats(0, 1e15))
def test_counts_keep_their_order_and_three_digits(a: float, b: float) -> None:
    factor = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}

    def read(text: str) -> float:
        number, _, prefix = text.partition(" ")
        return float(number.replace(",", "")) * factor[prefix]

    assert read(count(a)) == pytest.approx(a, rel=5.1e-3, abs=0.51)
    if a <= b:
        assert read(count(a)) <= read(count(b))


@pytest.mark.parametrize(("metric", "shown"), [("top-1", "Top-1"), ("mAP 50-95", "mAP 50-95"), ("dice", "Dice")])
def test_metrics_with_capitals_of_their_own_keep_them(metric: str, shown: str) -> None:
    assert titled(metric) == shown


def test_whoever_runs_the_files_is_told_what_they_need() -> None:
    assert use_sentence(Summary(precision="int8", artifacts={"tflite": "model.tflite"})) == ""
    assert use_sentence(Summary(precision="fp32", artifacts={"onnx": "model.onnx"})) == ""
    assert "session.x64quantprecision at 1" in use_sentence(Summary(precision="int8", artifacts={"onnx": "model.onnx"}))
    second = OnDevice(
        name="onnx", budget=BudgetFigures(metric="latency_ms", target=1.0), artifacts={"onnx": "device-2/model.onnx"}
    )
    assert "x64quantprecision" in use_sentence(Summary(precision="int8", devices=[second]))
    assert "take and give int8" in use_sentence(Summary(precision="int8", io="int8"))
