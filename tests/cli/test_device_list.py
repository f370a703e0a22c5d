"""What `amc-hw devices --json` tells a script that has to choose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import amc_hw

from amc_hw.devices.computers.names import KINDS
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.profiling.profile import default_table

ABOUT = ("device", "processor", "system", "runtime", "runtime_version", "cores", "delegate")
FINGERPRINT = Fingerprint(**dict.fromkeys(ABOUT, "x"), threads=1)


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def ask() -> dict[str, dict[str, Any]]:
        assert amc_hw("devices", "--json") == 0
        return {device["name"]: device for device in json.loads(capsys.readouterr().out)}

    return ask


def test_every_runtime_of_this_machine_tells_what_it_runs_and_how_it_may_be_named(listed: Any) -> None:
    devices = listed()
    for name, kind in KINDS.items():
        told = devices[name]
        assert told["kind"] == name
        assert (told["formats"], told["precisions"]) == ([kind.format], [*kind.precisions])
        assert told["options"] == [*kind.numbers, *kind.words]
        assert told["in_reach"] == (told["missing"] == "")
        assert (told["threads"] is None) == ("threads" not in kind.numbers)
        assert {option: told["choices"][option] for option, words in kind.words.items() if words} == {
            option: [*words] for option, words in kind.words.items() if words
        }
    if devices["onnx"]["in_reach"]:
        assert "cpu" in devices["onnx"]["choices"]["provider"]
    assert devices["host"]["choices"] == devices["pixel1"]["choices"] == {}
    assert "gpu" in devices["android"]["choices"]["delegate"]
    assert set(devices["ssh"]["formats"]) == {kind.format for kind in KINDS.values()}


def test_tables_are_told_each_with_its_device(listed: Any) -> None:
    path, other = default_table("host", FINGERPRINT), default_table("host:threads=2", FINGERPRINT)
    path.parent.mkdir(parents=True)
    assert not listed()["host"]["has_table"]
    other.write_text("{}")
    assert not listed()["host"]["has_table"]
    path.write_text("{}")
    told = listed()
    assert (told["host"]["has_table"], told["host"]["tables"], told["host"]["shipped_table"]) == (
        True,
        [str(path)],
        None,
    )
    assert not told["onnx"]["has_table"]


def test_a_device_that_is_known_by_its_shipped_table_alone_is_told(listed: Any) -> None:
    told = listed()["pixel1"]
    assert (told["kind"], told["in_reach"], told["has_table"]) == ("table", False, True)
    assert (told["formats"], told["precisions"], told["threads"]) == (["tflite"], ["fp32"], 1)
    assert Path(told["shipped_table"]).name == "pixel1.json"
