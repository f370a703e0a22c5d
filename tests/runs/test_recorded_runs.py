"""Run folders that an earlier version has written: begun and killed, searched, finished, and one of single weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from amc_hw.errors import RunFolderError
from amc_hw.report.html import write_report
from amc_hw.report.run import read_run
from amc_hw.runs.begun import open_run, read_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.record_files import RecordFile
from amc_hw.runs.records import FileRecord
from amc_hw.runs.summaries import SparseSummary
from amc_hw.search.study import read_study

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    return copied("finished", tmp_path)


def copied(name: str, to: Path) -> RunFolder:
    shutil.copytree(RECORDED / name, to / name)
    return RunFolder(to / name)


def written_again(file: RecordFile[FileRecord]) -> tuple[object, object]:
    """Read a record and write it; return what the file held before and holds now."""
    before = json.loads(file.path.read_text())
    file.write(file.read())
    return before, json.loads(file.path.read_text())


@pytest.mark.parametrize("name", ["policy", "finetune", "benchmark", "summary"])
def test_what_is_read_is_what_is_written(finished: RunFolder, name: str) -> None:
    before, after = written_again(getattr(finished, name))
    assert after == before


@pytest.mark.parametrize("name", ["policy", "finetune", "benchmark"])
def test_a_file_keeps_its_bytes(finished: RunFolder, name: str) -> None:
    file: RecordFile[FileRecord] = getattr(finished, name)
    before = file.path.read_bytes()
    file.write(file.read())
    assert file.path.read_bytes() == before


def test_a_run_of_single_weights_is_read_and_written_alike(tmp_path: Path) -> None:
    run = copied("sparse", tmp_path)
    for file in (run.sparsity, RecordFile(run.summary.path, SparseSummary)):
        before, after = written_again(file)
        assert after == before


@pytest.mark.parametrize("name", ["begun", "searched", "finished", "sparse"])
def test_a_log_keeps_its_lines(name: str, tmp_path: Path) -> None:
    log = copied(name, tmp_path).episodes
    found = log.read()
    header, episodes = found.header, found.episodes
    assert header is not None
    log.path.unlink()
    log.begin(header.settings)
    for episode in episodes:
        log.append(episode)
    recorded = (RECORDED / name / log.path.name).read_text()
    assert log.path.read_text() == recorded[: recorded.rfind("\n") + 1]


@pytest.mark.parametrize("name", ["shortlist", "misses"])
def test_lines_stay_as_they_are(finished: RunFolder, name: str) -> None:
    lines = getattr(finished, name)
    before, records = lines.path.read_text(), lines.read()
    assert records
    lines.path.unlink()
    for record in records:
        lines.append(record)
    assert lines.path.read_text() == before
    lines.drop_last()
    assert lines.read() == records[:-1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("begun", "3 of 1000000 episodes are done"),
        ("searched", "A policy is chosen"),
        ("finished", "Budget held"),
        ("sparse", "tiny.py:tiny"),
    ],
)
def test_it_is_reported(name: str, words: str, tmp_path: Path) -> None:
    run = copied(name, tmp_path)
    log = run.episodes.path.read_bytes()
    assert words in write_report(run.path).read_text()
    assert run.episodes.path.read_bytes() == log, "a report mends nothing: the search may be writing"


@pytest.mark.parametrize(("name", "file"), [("finished", "policy.json"), ("sparse", "summary.json")])
def test_what_its_reader_should_know_is_in_the_report(name: str, file: str, tmp_path: Path) -> None:
    run = copied(name, tmp_path)
    document = json.loads((run.path / file).read_text())
    (run.path / file).write_text(json.dumps(document | {"warnings": ["its other heads are left out"]}))
    assert "Its other heads are left out" in write_report(run.path).read_text()


def test_it_is_gone_on_with(finished: RunFolder, tmp_path: Path) -> None:
    begun = copied("begun", tmp_path)
    config = read_config(begun.path)
    assert open_run(begun.path, config.model_copy(update={"episodes": 5})).episodes == 5
    assert len(read_study(begun.episodes.path).episodes) == 3
    assert begun.episodes.path.read_text().endswith("}\n"), "what the kill left of a line is gone"
    policy = finished.policy.read()
    assert policy.chosen == policy.candidates[0]
    assert policy.episodes == read_config(finished.path).episodes


def test_a_later_search_makes_what_followed_an_earlier_one_invalid(finished: RunFolder) -> None:
    exported = [finished.finetuned, finished.model("tflite"), finished.model("pt2"), finished.finetune_state(20)]
    kept = [finished.original("tflite"), finished.pruned, finished.baseline, finished.path / "model.py"]
    for file in (*exported, *kept):
        file.touch()
    stale = [*exported, *(file.path for file in (finished.finetune, finished.benchmark, finished.summary))]
    assert all(file.exists() for file in stale)
    finished.invalidate_after_search(["tflite", "pt2"])
    assert not any(file.exists() for file in stale)
    files = (finished.episodes, finished.shortlist, finished.misses, finished.policy)
    assert all(file.exists() for file in [*kept, *(file.path for file in files), finished.config])


def test_newer_fields_are_passed_over_and_missing_ones_have_defaults(finished: RunFolder) -> None:
    document = json.loads(finished.policy.path.read_text())
    del document["warnings"], document["candidates"][0]["original_ms"]
    finished.policy.path.write_text(json.dumps(document | {"mood": ["good"]}))
    policy = finished.policy.read()
    assert policy.warnings == []
    assert policy.candidates[0].original_ms is None
    line = (
        '{"episode": 8, "channels": {"a": 4}, "accuracy": 0.5, "reward": -0.5, "mood": "good", "cost": 2, "macs": 3}\n'
    )
    with finished.episodes.path.open("a") as log:
        log.write(line)
    assert finished.episodes.read().episodes[-1].metrics == {"macs": 3}


def test_damage_has_one_sentence_whoever_reads(finished: RunFolder) -> None:
    lines = finished.episodes.path.read_text().splitlines()
    finished.episodes.path.write_text("\n".join([*lines[:3], '{"episode": 2}', *lines[4:]]) + "\n")
    with pytest.raises(RunFolderError) as searched:
        read_study(finished.episodes.path)
    with pytest.raises(RunFolderError) as reported:
        read_run(finished)
    assert str(searched.value) == str(reported.value)
    assert "(line 4.accuracy: Field required); delete that line and all lines after it" in str(reported.value)
