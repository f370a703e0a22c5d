from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amc_hw.errors import RunFolderError, UsageError, WrongRunError
from amc_hw.runs.begun import open_run, read_config
from amc_hw.runs.config import make_config
from amc_hw.runs.file_names import maker
from amc_hw.runs.files import (
    append_line,
    read_json,
    read_lines,
    require_room,
    require_writable,
    write_json,
    write_text,
)
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import Contender


@given(cut=st.integers(0, 60))
@settings(deadline=None)  # each line is waited for until it lies on the disk
def test_a_line_cut_by_a_kill_is_dropped_and_only_that(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    for number in range(5):
        append_line(path, {"n": number})
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    kept = read_lines(path)
    assert kept == [{"n": number} for number in range(whole[:cut].count(b"\n"))]
    append_line(path, {"n": 99})
    assert read_lines(path) == [*kept, {"n": 99}]


def test_damage_inside_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"n": 1}\nnonsense\n{"n": 2}\n')
    cure = r"log.jsonl is damaged \(line 2: .*delete that line and all lines after it"
    with pytest.raises(RunFolderError, match=cure):
        read_lines(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_bytes(b'{"n": "\xff"}\n')
    with pytest.raises(RunFolderError, match=r"log.jsonl is damaged \(line 1: "):
        read_lines(tmp_path / "log.jsonl")


def test_a_document_that_is_nested_too_deeply_is_damaged(tmp_path: Path) -> None:
    for name, read in (("policy.json", read_json), ("log.jsonl", read_lines)):
        (tmp_path / name).write_text("[" * 100_000 + "\n")
        with pytest.raises(RunFolderError, match="is damaged"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    "line",
    [
        '{"score": 0.5}',
        '{"channels": {"a": 8}}',
        '{"channels": {"a": "8"}, "score": 0.5}',
        '{"channels": {"a": [8]}, "score": 0.5}',
        '{"channels": {"a": 8}, "score": NaN}',
        '{"channels": {"a": 8}, "score": null}',
        "[]",
        "1",
    ],
)
def test_a_damaged_line_of_a_policy_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "shortlist.jsonl"
    append_line(path, {"channels": {"a": 8}, "score": 0.5})
    assert RunFolder(tmp_path).shortlist.read() == [Contender(channels={"a": 8}, score=0.5)]
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RunFolderError, match=r"shortlist.jsonl is damaged \(line 2.*; delete that line"):
        RunFolder(tmp_path).shortlist.read()
    write_json(tmp_path / "config.json", {"command": "amc-hw search --model m --run r"})
    with pytest.raises(RunFolderError, match=f"and go on with: amc-hw search --model m --run {tmp_path}$"):
        RunFolder(tmp_path).shortlist.read()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"old": True})

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match="No space left"):
        write_text(path, "new")
    assert read_json(path) == {"old": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_a_run_goes_on_with_its_own_settings_only(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = make_config(model="resnet20", data="digits")
    open_run(run, config)
    assert read_config(run) == config
    open_run(run, make_config(model="resnet20", data="digits", episodes=500, epochs=1))
    open_run(run, make_config(model="resnet20", data="digits", budget="0.7x"))  # nothing was scored for the other
    append_line(run / "episodes.jsonl", {"episode": 0})
    with pytest.raises(RunFolderError, match=r"budget .0\.7x., not .0\.6x."):
        open_run(run, make_config(model="resnet20", data="digits", budget="0.6x"))
    with pytest.raises(RunFolderError, match="'resnet20', not 'resnet56'"):
        open_run(run, make_config(model="resnet56", data="digits"))
    with pytest.raises(RunFolderError, match=r"exclude \(\), not \('classifier',\)"):
        open_run(run, make_config(model="resnet20", data="digits", budget="0.7x", exclude=["classifier"]))
    with pytest.raises(UsageError, match="episodes"):
        make_config(model="resnet20", data="digits", episodes=0)
    with pytest.raises(RunFolderError, match="does not exist"):
        read_config(tmp_path / "nowhere")


def test_a_folder_of_runs_is_not_taken_for_a_run(tmp_path: Path) -> None:
    open_run(tmp_path / "0.5x-seed0", make_config(model="m", data="digits"))
    with pytest.raises(RunFolderError, match=r"is a folder of runs; name one of them, for example .*0\.5x-seed0"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("typed", "name", "told"),
    [
        ("search --model m --run old --seed 3", "policy.json", "search --model m --seed 3 --run {run}"),
        ("compress --model m --run=old --latency 0.5x", "pruned.pt", "compress --model m --latency 0.5x --run {run}"),
        ("compress --debug", "model.pt", "compress --run {run}"),
        ("search --model 'my net.py:f' --run old", "summary.json", "compress --model 'my net.py:f' --run {run}"),
        ("search --model m --run old", "model.pt", "finetune --run {run}"),
        ("sweep --latency 0.5x,0.3x --out runs/all", "policy.json", "sweep --latency 0.5x,0.3x --out runs/all"),
        (
            "compress --model m --rounds 0.8x --run old",
            "round-1/policy.json",
            "compress --model m --rounds 0.8x --run {run}",
        ),
        ("", "policy.json", "search --run {run} ..."),
        ("benchmark x.tflite", "policy.json", "search --run {run} ..."),
        ("search --model 'un", "policy.json", "search --run {run} ..."),
        ("search --model '\x1b[2J'", "policy.json", "search --run {run} ..."),
    ],
)
def test_what_makes_a_file_again_is_the_whole_command_for_the_folder_as_it_lies(
    tmp_path: Path, typed: str, name: str, told: str
) -> None:
    run = tmp_path / "my run"
    write_json(run / "config.json", {"command": f"amc-hw {typed}"})
    assert maker(run / name) == "amc-hw " + told.format(run=f"'{run}'")


@pytest.mark.parametrize("content", ["", "[]", '{"command": null}', '{"command": ["amc-hw", "search"]}', "[" * 100_000])
def test_where_the_settings_do_not_say_it_the_command_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert maker(tmp_path / "policy.json") == f"amc-hw search --run {tmp_path} ..."


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "table.json")
    assert not (tmp_path / "new" / "table.json").exists()
    assert not (tmp_path / "new").exists()
    with pytest.raises(WrongRunError, match=rf"there is no folder {tmp_path}/new; make it \(mkdir -p {tmp_path}/new"):
        require_writable(tmp_path / "new" / "er" / "table.json")
    require_room(tmp_path / "runs" / "mine")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(WrongRunError, match="there is no folder"):
        require_room(tmp_path / "my" / "runs" / "mine")
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    require_writable(kept)
    assert kept.read_text() == "as it was"
    with pytest.raises(RunFolderError, match="name another file"):
        require_writable(kept / "below a file")
