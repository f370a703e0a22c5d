# ruff: noqa: RUF001 -- the report writes true minus signs, dashes and multiplication signs
from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amc_hw.errors import RunFolderError, UsageError
from amc_hw.report.compare import compare_report, pareto_front

Edit = Callable[[Path, Callable[[Any], None]], None]


def text_of(page: Path) -> str:
    words: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            words.append(data)

    Reader().feed(page.read_text())
    return " ".join(" ".join(words).split())


def test_several_runs_share_a_table_and_a_front(make_run: Callable[..., Path], edit: Edit, tmp_path: Path) -> None:
    runs = [
        make_run("small", ratio=0.3, accuracy=0.88),
        make_run("middle", ratio=0.5, accuracy=0.91),
        make_run("beaten", ratio=0.5001, accuracy=0.90),
        make_run("unfinished"),
    ]
    edit(runs[2] / "summary.json", lambda summary: summary["search"].update(strategy="<b>uniform"))
    (runs[3] / "summary.json").unlink()
    page = compare_report(runs, tmp_path / "pages" / "compare.html")
    assert page == tmp_path / "pages" / "compare.html"
    text, source = text_of(page), page.read_text()
    assert "cifar10 on Intel Xeon Gold 6330 (x86_64)" in text
    assert "1 small front resnet20 fp32 ddpg 0 0.393 ms 0.387 ms 0.30× 88.00 % −3.73" in text
    assert "2 middle front" in text
    assert "3 beaten resnet20 fp32 <b>uniform" in text
    assert "4 unfinished resnet20 fp32 ddpg – – – – – – – – Unfinished" in text
    assert "<b>uniform" not in source
    assert "changed its speed" not in text
    assert "://" not in source
    assert 'aria-label="3 runs; 2 of them on the Pareto front."' in source


def test_runs_while_the_device_was_slower_are_told(make_run: Callable[..., Path], edit: Edit, tmp_path: Path) -> None:
    runs = [make_run("fast"), make_run("slow")]
    edit(runs[1] / "summary.json", lambda summary: summary["original"].update(latency_ms=2.6))
    text = text_of(compare_report(runs, tmp_path / "compare.html"))
    assert "resnet20 itself took 1.310 ms in one and 2.600 ms in another" in text


def test_runs_on_other_devices_or_data_are_kept_apart(
    make_run: Callable[..., Path], edit: Edit, tmp_path: Path
) -> None:
    runs = [make_run("here"), make_run("phone"), make_run("digits")]
    for name in ("summary.json", "benchmark.json"):
        edit(runs[1] / name, lambda document: document["device"].update(device="Pixel 1"))
    edit(runs[2] / "summary.json", lambda summary: summary.update(data="digits"))
    page = compare_report(runs, tmp_path / "compare.html")
    headings = re.findall(r"<h2>(.*?)</h2>", page.read_text())
    assert headings == [
        "cifar10 on Intel Xeon Gold 6330 (x86_64)",
        "cifar10 on Pixel 1",
        "digits on Intel Xeon Gold 6330 (x86_64)",
    ]
    assert "are kept apart" in text_of(page)


def test_other_metrics_are_kept_apart_and_named(make_run: Callable[..., Path], edit: Edit, tmp_path: Path) -> None:
    runs = [make_run("one"), make_run("other")]
    edit(runs[1] / "summary.json", lambda summary: summary.update(metric="mean IoU"))
    page = compare_report(runs, tmp_path / "compare.html").read_text()
    assert "Mean IoU against latency" in page
    assert "Accuracy against latency" in page


def test_runs_that_were_not_verified_are_in_no_plot(make_run: Callable[..., Path], edit: Edit, tmp_path: Path) -> None:
    run = make_run("one")
    edit(run / "summary.json", lambda summary: summary.update(unverified=True))
    assert "no plot yet" in text_of(compare_report([run], tmp_path / "compare.html"))


def test_nothing_to_compare_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name one or more run folders"):
        compare_report([], tmp_path / "compare.html")
    with pytest.raises(RunFolderError, match="no run folder"):
        compare_report([tmp_path], tmp_path / "compare.html")


points = st.dictionaries(
    st.integers(0, 30),
    st.none() | st.tuples(st.integers(0, 8).map(float), st.integers(0, 8).map(float)),
    max_size=15,
)


@given(points)
def test_the_front_is_what_no_other_point_beats(cloud: dict[int, tuple[float, float] | None]) -> None:
    front = pareto_front(cloud)
    known = {key: point for key, point in cloud.items() if point is not None}

    def beaten(point: tuple[float, float]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in known.values())

    assert {known[key] for key in front} == {point for point in known.values() if not beaten(point)}
    assert [known[key][0] for key in front] == sorted(known[key][0] for key in front)
