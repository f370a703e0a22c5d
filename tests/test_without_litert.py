"""Without LiteRT everything goes on that needs none, and the rest ends with the name of the package to install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import TINY
from tiny import TinyNet

from amc_hw.errors import DeviceError
from amc_hw.formats.tflite.convert import to_tflite

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

HIDDEN = ("ai_edge_litert", "litert_torch", "litert_converter", "ai_edge_quantizer")
PLAY = f"""
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys({HIDDEN!r}))
sys.path.insert(0, {str(Path(__file__).parent / "support")!r})
from pathlib import Path
import torch
import pytest
from commands import amc_hw
from less import do_less
from tiny import TinyNet
from amc_hw.formats.export import export
do_less(pytest.MonkeyPatch())
export(TinyNet(), torch.zeros(1, 1, 32, 32), Path(sys.argv[1]))
for command in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = amc_hw(*command)
    print(json.dumps([status, out.getvalue(), " ".join(err.getvalue().split())]))
"""


def test_what_needs_no_litert_works_and_the_rest_names_the_package(
    checkpoint: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    file, foreign = tmp_path / "tiny.onnx", tmp_path / "some.tflite"
    foreign.write_bytes(b"TFL3")
    model = ["--model", TINY, "--image-size", "32"]
    compress = ["compress", "--model", TINY, "--checkpoint", str(checkpoint), "--data", "digits", "--macs", "0.6x"]
    commands = [
        ["devices", "--json"],
        ["profile", "--device", "onnx", *model, "--table", str(tmp_path / "table.json"), "--json"],
        ["evaluate", str(file), "--data", "digits", "--json"],
        ["benchmark", str(file), "--device", "onnx", "--runs", "5", "--out", str(tmp_path / "b.json"), "--json"],
        [*compress, "--run", str(tmp_path / "host")],
        ["profile", "--device", "host", *model],
        ["evaluate", str(foreign), "--data", "digits"],
        ["benchmark", str(foreign)],
    ]
    played = subprocess.run(
        [sys.executable, "-c", PLAY, file],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    answers = [json.loads(line) for line in played.stdout.splitlines()]
    assert [status for status, _, _ in answers] == [0] * 4 + [1] * 4, answers
    devices, profiled, evaluated, timed, *refused = answers
    missing = {device["name"]: device["missing"] for device in json.loads(devices[1])}
    assert missing["host"] == "LiteRT: pip install ai-edge-litert litert-torch"
    assert missing["onnx"] == ""
    assert json.loads(profiled[1])["entries"] > 0
    assert 0 <= json.loads(evaluated[1])["accuracy"] < 0.5
    assert json.loads(timed[1])[0]["latency_ms"] > 0
    for _, _, told in refused:
        assert told.count("error: ") == 1
        assert "pip install ai-edge-litert" in told
    assert not (tmp_path / "host").exists()


def test_converting_to_tflite_names_the_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(DeviceError, match="pip install litert-torch"):
        to_tflite(TinyNet(), torch.zeros(1, 1, 32, 32))
