from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amc_hw.errors import RunFolderError
from amc_hw.report.html import write_report
from amc_hw.report.run import read_run
from amc_hw.runs.folder import RunFolder

Edit = Callable[[Path, Callable[[Any], None]], None]

FILES = ["config.json", "episodes.jsonl", "policy.json", "finetune.json", "benchmark.json", "summary.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"{\n", b"\xff\xfe{}\n", b"[1, 2]\n", b"null\n", b'"text"\n'])
def test_a_damaged_file_is_named(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(RunFolderError, match=name.replace(".", r"\.")):
        read_run(RunFolder(run))


@pytest.mark.parametrize("name", FILES[1:3] + FILES[4:])
def test_a_later_format_is_not_guessed_at(run: Path, name: str) -> None:
    first, *rest = (run / name).read_text().splitlines()
    (run / name).write_text("\n".join([json.dumps(json.loads(first) | {"format": 2}), *rest]) + "\n")
    with pytest.raises(RunFolderError, match=f"{name} has format 2, and this version reads format 1"):
        read_run(RunFolder(run))


@pytest.mark.parametrize(
    ("name", "change", "place"),
    [
        ("summary.json", lambda s: s["compressed"].update(accuracy=91.7), "compressed.accuracy"),
        ("summary.json", lambda s: s["original"].update(latency_ms=-1), "original.latency_ms"),
        ("summary.json", lambda s: s["budget"].update(target="3 ms"), "budget.target"),
        ("summary.json", lambda s: s["original"].update(macs=float("nan")), "original.macs"),
        ("policy.json", lambda p: p.pop("channels"), "channels"),
        ("policy.json", lambda p: p["channels"].update(conv1=1.5), "channels.conv1"),
        ("policy.json", lambda p: p["candidates"][2].update(measured_ms=0), "candidates.2.measured_ms"),
        (
            "benchmark.json",
            lambda b: b["models"][1]["repeats"][0].update(samples_us=[]),
            "repeats.0.samples_us",
        ),
        (
            "benchmark.json",
            lambda b: b["models"][0]["repeats"][2]["samples_us"].append("x"),
            "samples_us.200",
        ),
        ("finetune.json", lambda f: f["epochs"][3].update(train_loss=float("inf")), "epochs.3.train_loss"),
    ],
)
def test_a_wrong_value_is_named_by_its_place(
    run: Path, edit: Edit, name: str, change: Callable[[Any], None], place: str
) -> None:
    edit(run / name, change)
    with pytest.raises(RunFolderError, match=name) as caught:
        read_run(RunFolder(run))
    assert place in str(caught.value)


def test_a_damaged_episode_is_named_by_its_line(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = run / "episodes.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:4], '{"episode": 3, "reward": 0}', *lines[5:]]) + "\n")
    with pytest.raises(RunFolderError, match="delete that line and all lines after it") as caught:
        read_run(RunFolder(run))
    assert "line 5.accuracy" in str(caught.value)
    log.write_text("\n".join([*lines[:4], '{"episode": 3,', *lines[5:]]) + "\n")
    assert [each.episode for each in read_run(RunFolder(run)).episodes] == [n for n in range(len(lines) - 1) if n != 3]
    assert "has damaged lines (5)" in caplog.text


def test_optional_keys_may_be_missing(tmp_path: Path) -> None:
    documents: dict[str, Any] = {
        "policy": {"format": 1, "channels": {"a": 4}, "original_channels": {"a": 8, "b": 2}},
        "finetune": {"epochs": [{"epoch": 1}]},
        "benchmark": {"format": 1, "models": [{"name": "compressed", "repeats": [{"samples_us": [5.0]}]}]},
        "summary": {"format": 1},
        "config": {},
    }
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    log = '{"format": 1, "settings": {}}\n{"episode": 0, "accuracy": 0.5, "reward": -0.5}\n'
    (tmp_path / "episodes.jsonl").write_text(log)
    page = write_report(tmp_path).read_text()
    assert "4 of 8" in page
    assert "2 of 2" in page


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([0, 1, 1e15, -1e15, 1e-9]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data(), name=st.sampled_from(FILES))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_whatever_a_file_holds_the_report_is_written_or_refused_by_name(
    make_run: Callable[..., Path], data: st.DataObject, name: str, tmp_path: Path
) -> None:
    run = tmp_path / "fuzzed"
    if not run.exists():
        make_run("fuzzed", episodes=6)
    original = (run / name).read_text()
    lines = original.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = json.dumps(_spoiled(json.loads(lines[at]), data))
    (run / name).write_text("\n".join(lines) + "\n")
    try:
        with contextlib.suppress(RunFolderError):
            assert write_report(run).stat().st_size > 1000
    finally:
        (run / name).write_text(original)


def _spoiled(document: Any, data: st.DataObject) -> Any:
    """Put anything at all in some place of a document."""
    if isinstance(document, dict) and document and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(document)))
        return document | {key: _spoiled(document[key], data)}
    if isinstance(document, list) and document and data.draw(st.booleans()):
        index = data.draw(st.integers(0, len(document) - 1))
        return [*document[:index], _spoiled(document[index], data), *document[index + 1 :]]
    return data.draw(anything)
