"""The built wheel, installed into an environment of its own and run outside the checkout, does the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from tiny import TinyNet

from amc_hw.runs.files import write_bytes

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = out.glob("*.whl")
    return file


def test_wheel_holds_everything_under_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"amc_hw"}
    for folder in ("profilers", "device_scripts", "lookup_tables"):
        here = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        there = {Path(name).name for name in names if name.startswith(f"amc_hw/_shipped/{folder}/")}
        assert here == there
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "amc_hw").rglob("*") if path.is_file()}
    assert {path for path in here if "__pycache__" not in path} <= set(names)


def test_installed_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run = {"check": True, "capture_output": True, "text": True, "cwd": tmp_path}
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], **run)
    # The libraries come from this environment; its link to the checkout does not come along.
    packages = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], **run).stdout
    (Path(packages.strip()) / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    found = subprocess.run([python, "-c", "import amc_hw; print(amc_hw.__file__)"], **run).stdout
    assert found.startswith(str(environment))

    from amc_hw.formats.tflite.convert import to_tflite
    from amc_hw.tracing.traced import trace_model

    traced = trace_model(TinyNet(), (1, 32, 32))
    write_bytes(tmp_path / "tiny.tflite", to_tflite(traced.model, traced.example))
    short = ["--warmup", "2", "--runs", "5", "--repeats", "1"]
    command = [environment / "bin" / "amc-hw", "benchmark", "tiny.tflite", *short, "--json"]
    timed = subprocess.run(command, **run, env={**os.environ, "PYTHONPATH": ""}).stdout
    assert [len(repeat["samples_us"]) for repeat in json.loads(timed)[0]["repeats"]] == [5]
