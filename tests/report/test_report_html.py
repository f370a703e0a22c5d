# ruff: noqa: RUF001 -- the report writes true minus signs, dashes and multiplication signs
from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from amc_hw.errors import RunFolderError
from amc_hw.report.html import write_report

Edit = Callable[[Path, Callable[[Any], None]], None]

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """The page's text, tags and attributes; fails where tags are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def headings(self) -> list[str]:
        return re.findall(r"<h2>(.*?)</h2>", self.source)


SECTIONS = [
    "Before and after",
    "What each layer keeps",
    "The search",
    "Predicted against measured",
    "Fine-tuning",
    "The benchmark’s samples",
    "Device and settings",
    "How to reproduce",
    "Left out",
]


def report(run: Path) -> Page:
    return Page(write_report(run))


def test_a_finished_run_has_every_section_and_its_numbers(run: Path) -> None:
    page = report(run)
    assert page.headings == SECTIONS[:-1]
    for shown in (
        "2.03× faster, 0.75 points less accurate",
        "Budget held",
        "0.645 ms measured on Intel Xeon Gold 6330 (x86_64); the budget is 0.655 ms",
        "0.50× of the original, 1.310 ms",
        "Budget 0.655 ms",
        "File size 1.09 MB 431 kB 0.39×",
        "layer2.1.conv1",
        "Strategy ddpg, 120 episodes in 4 min 12 s, seed 0",
        "4 of 5 measured within 5 % of the prediction; the median error is 1.8 %, the largest 5.7 %",
        "repaired",
        "1.310 ms, repeats 0.7 % apart",
        "--checkpoint resnet20.th",
        "runtime_version 2.1.0",
        "versions.torch 2.11.0",
    ):
        assert shown in page.text, shown
    assert "Read with care" not in page.text


def test_the_page_needs_nothing_from_outside(run: Path) -> None:
    page = report(run)
    assert len(page.source) < 1_500_000
    assert "://" not in page.source
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not {"src", "href", "xlink:href", "srcset"} & {name for name, _ in page.attributes}
    assert not re.search(r"@import|url\(", page.source)


def test_the_same_folder_gives_the_same_bytes(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_the_original_files_are_left_as_they_are(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    write_report(run)
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.name != "report.html"}


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_strings_from_files_are_text_and_nothing_else(run: Path) -> None:
    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poisoned(part) for key, part in value.items()} | {EVIL: EVIL}
        if isinstance(value, list):
            return [poisoned(part) for part in value]
        return EVIL if isinstance(value, str) else value

    for name in ("config", "policy", "summary", "benchmark"):
        document = json.loads((run / f"{name}.json").read_text())
        parts = {key: document.pop(key) for key in ("channels", "original_channels", "candidates") if key in document}
        metric = document.get("budget", {}).get("metric")
        document = poisoned(document) | parts
        document.pop(EVIL)
        for part in ("artifacts", "channels"):
            assert part not in document or isinstance(document[part], dict)
        if metric:
            document["budget"]["metric"] = metric
            document["compressed"].pop("channels")
        (run / f"{name}.json").write_text(json.dumps(document))
    page = report(run)
    assert EVIL in page.text
    assert not {"script", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_half_a_surrogate_pair_is_no_reason_to_fail(run: Path, edit: Edit) -> None:
    edit(run / "summary.json", lambda summary: summary.update(model="\ud800net"))
    assert "?net" in report(run).text


@pytest.mark.parametrize(
    ("there", "sections", "shown"),
    [
        (["config"], SECTIONS[6:], "Nothing was searched yet"),
        (
            ["config", "episodes"],
            [SECTIONS[2], *SECTIONS[6:]],
            "120 episodes are done; the best so far is episode 98 with 86.00 %",
        ),
        (["episodes"], [SECTIONS[2], SECTIONS[8]], "The search has not ended"),
        (
            ["config", "episodes", "policy"],
            [*SECTIONS[1:4], *SECTIONS[6:]],
            "predicted to take 0.646 ms and measured at 0.645 ms",
        ),
        (["benchmark"], [*SECTIONS[5:7], SECTIONS[8]], "The benchmark’s samples"),
        (["summary"], [SECTIONS[0], *SECTIONS[6:]], "Budget held"),
    ],
)
def test_half_finished_folders_show_what_they_hold(
    run: Path, there: list[str], sections: list[str], shown: str
) -> None:
    for path in list(run.iterdir()):
        if path.stem not in there:
            path.unlink()
    page = report(run)
    assert page.headings == sections
    assert shown in page.text


def test_what_was_learned_in_the_end_is_told(run: Path, edit: Edit) -> None:
    assert "the validation split is learned now" not in report(run).text
    edit(run / "finetune.json", lambda document: document.update(search_split_learned=True))
    assert "the validation split is learned now" in report(run).text
    for kept, says in ((0, "stays as it is"), (3, "chose the weights of epoch 3")):
        edit(
            run / "finetune.json",
            lambda document, kept=kept: document.update(search_split_learned=False, kept_epoch=kept),
        )
        assert says in report(run).text


def test_a_search_under_way_counts_its_episodes(run: Path) -> None:
    for name in ("policy", "summary", "benchmark", "finetune"):
        (run / f"{name}.json").unlink()
    log = run / "episodes.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    unfinished = "".join(lines[:41]) + '{"episode": 40, "chan'
    log.write_text(unfinished)
    assert "40 of 120 episodes are done" in report(run).text
    assert log.read_text() == unfinished


def test_a_missed_budget_says_by_how_much(run: Path, edit: Edit) -> None:
    edit(run / "summary.json", lambda summary: summary["compressed"].update(latency_ms=0.7))
    page = report(run)
    assert "Budget missed" in page.text
    assert "6.9 % over: 0.700 ms measured" in page.text
    assert "The compressed network is over its budget" in page.text
    assert "the summary says 0.700 ms; benchmark again" in page.text
    assert "+8.4 % off its prediction" in page.text


def test_a_device_that_became_slower_is_told_from_a_wrong_table(run: Path, edit: Edit) -> None:
    def slower(summary: dict[str, Any]) -> None:
        for name in ("original", "compressed"):
            summary[name]["latency_ms"] = 1.08 * summary[name]["predicted_ms"]

    edit(run / "summary.json", slower)
    text = report(run).text
    assert "+8.0 % off its prediction, but that of the original is +8.0 % off, too" in text
    assert "the device's speed has changed" in text.replace("&#39;", "'")
    assert "check the table" not in text


@pytest.mark.parametrize("change", [{"unverified": True}, {"compressed": {"predicted_ms": 0.646}}])
def test_an_unverified_budget_is_not_called_held(run: Path, edit: Edit, change: dict[str, Any]) -> None:
    edit(run / "summary.json", lambda summary: summary.update(change))
    page = report(run)
    assert "Not verified" in page.text
    assert "Budget held" not in page.text
    assert "Held by the prediction, not verified on the device: 0.646 ms predicted" in page.text
    assert "The budget was not verified on the device" in page.text


def test_what_the_search_warned_of_is_read_with_care(run: Path, edit: Edit) -> None:
    warning = "the policy's accuracy on the validation split is 89.00%, under the floor"
    edit(run / "policy.json", lambda policy: policy.update(warnings=[warning]))
    assert f"Read with care {warning.replace('the policy', 'The policy', 1)}" in report(run).text


def test_every_limit_is_in_the_verdict(run: Path, edit: Edit) -> None:
    limit = {"metric": "macs", "target": 20e6, "ratio": None}
    edit(run / "summary.json", lambda s: s.update(limits=[limit]))
    assert "also 18.4 M MACs, where 20.0 M MACs are allowed." in report(run).text
    edit(run / "summary.json", lambda s: s.update(limits=[limit | {"target": 18e6}]))
    page = report(run)
    assert "Budget missed" in page.text
    assert "18.4 M MACs, where 18.0 M MACs are allowed." in page.text
    edit(run / "summary.json", lambda s: s["budget"].update(target=0.6))
    assert re.search(r"[0-9.]+ % over: .*; also 18\.4 M MACs, where 18\.0 M MACs are allowed\.", report(run).text)


def test_a_budget_of_macs_is_counted_not_measured(run: Path, edit: Edit) -> None:
    edit(run / "summary.json", lambda s: s.update(budget={"metric": "macs", "target": 20e6, "ratio": None}))
    page = report(run)
    assert "18.4 M MACs; the budget is 20.0 M MACs." in page.text


def test_a_small_test_set_is_said(run: Path, edit: Edit) -> None:
    edit(run / "summary.json", lambda summary: summary.update(test_images=10_000))
    assert "standard error" not in report(run).text
    edit(run / "summary.json", lambda summary: summary.update(test_images=360))
    assert "The test set has only 360 images: the standard error of an accuracy is " in report(run).text


def test_warnings_name_what_is_wrong(run: Path, edit: Edit) -> None:
    edit(run / "benchmark.json", lambda benchmark: benchmark["models"][1].update(unstable=True))
    edit(run / "benchmark.json", lambda benchmark: benchmark["device"].update(simulated=True, threads=2))
    text = report(run).text
    assert "The measurement of “compressed” is unstable: its repeats differ by 0.7 %" in text
    assert "The device is simulated" in text
    assert "devices that differ in: simulated, threads." in text


def test_the_simulated_device_of_an_earlier_version_is_told_by_its_name(run: Path, edit: Edit) -> None:
    for file in ("benchmark.json", "summary.json"):
        edit(run / file, lambda found: found["device"].update(device="Simulated board"))
    assert "The device is simulated" in report(run).text
    assert "devices that differ" not in report(run).text
    edit(run / "benchmark.json", lambda benchmark: benchmark["device"].update(device="board"))
    assert "The device is simulated" not in report(run).text


def test_a_long_search_stays_a_small_page(make_run: Callable[..., Path]) -> None:
    run = make_run("long", episodes=4000)
    assert "One episode in 3 is drawn." in report(run).text
    assert (run / "report.html").stat().st_size < 1_500_000


def test_interrupted_runs_do_not_squeeze_the_samples(run: Path, edit: Edit) -> None:
    def interrupt(benchmark: Any) -> None:
        benchmark["models"][0]["repeats"][1]["samples_us"][7] = 90_000.0

    edit(run / "benchmark.json", interrupt)
    page = report(run)
    assert "Run 8 of repeat 2: 90.00 ms" in page.text
    assert re.search(r"10 of 600 runs took longer than 1\.\d+ ms", page.text)


def test_equal_samples_can_be_drawn(run: Path, edit: Edit) -> None:
    def level(benchmark: Any) -> None:
        for repeat in benchmark["models"][0]["repeats"]:
            repeat["samples_us"] = [1310.0] * 5

    edit(run / "benchmark.json", level)
    assert "original: 1.310 ms, repeats 0.0 % apart" in report(run).text


def test_files_outside_the_folder_are_not_looked_at(run: Path, edit: Edit) -> None:
    (run.parent / "elsewhere.tflite").write_bytes(bytes(10))

    def move(benchmark: Any) -> None:
        benchmark["models"][0]["file"] = "../elsewhere.tflite"
        benchmark["models"][1]["file"] = str(run.parent / "elsewhere.tflite")

    edit(run / "benchmark.json", move)
    assert "File size" not in report(run).text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunFolderError, match="no run folder"):
            write_report(folder)


def test_a_run_for_several_devices_names_each_with_its_files_and_a_missed_latency_is_timed_again(
    run: Path, edit: Edit
) -> None:
    def on_two(summary: dict[str, Any]) -> None:
        own = {key: summary[key] for key in ("budget", "original", "compressed")}
        further = {"artifacts": {"onnx": "device-2/model.onnx"}, "budget": {"metric": "latency_ms", "target": 0.5}}
        summary["devices"] = [own | {"name": "host"}, own | {"name": "onnx"} | further]

    edit(run / "summary.json", on_two)
    text = report(run).text
    assert "Budget missed 0.645 ms measured on onnx, where 0.500 ms are allowed" in text
    assert "Run the same command when the device is quiet" in text
    assert "Latency on host, measured" in text
    assert "onnx of onnx device-2/model.onnx" in text
    edit(run / "summary.json", lambda summary: summary["devices"][1]["budget"].update(target=0.7))
    assert "0.645 ms measured on host, " in report(run).text


@pytest.mark.parametrize(("in_fp32", "is_told"), [(0.6, True), (0.9, False)])
def test_a_precision_that_gains_no_time_is_told(run: Path, edit: Edit, in_fp32: float, is_told: bool) -> None:
    others = {"compressed in fp32": {"latency_ms": in_fp32, "accuracy": 0.9}}
    edit(run / "summary.json", lambda summary: summary.update(precision="int8", others=others))
    told = "In int8 the compressed network is no faster than in fp32, where it takes 0.600 ms"
    assert (told in report(run).text) == is_told
