"""Tables from logs of quantised networks, recorded here with the stand-in for benchmark_model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import amc_hw
from small_nets import ChunksAndNeck, TinyResidual, learned

pytest.importorskip("litert_torch")
from amc_hw.formats.export import export
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.latency.read_table import load_table
from amc_hw.policy import DTYPES, Precision

ROOT = Path(__file__).parents[2]
FLAGS = "--warmup_runs=2 --warmup_min_secs=0 --num_runs=5 --min_secs=0 --num_threads=1 --enable_op_profiling=true"


def record(file: Path) -> Path:
    """Benchmark a file and return its log."""
    program = [sys.executable, ROOT / "tests" / "loopback" / "benchmark_model.py", f"--graph={file}"]
    places = os.pathsep.join([str(ROOT / "profilers"), str(ROOT / "tests" / "loopback")])
    environment = {**os.environ, "PYTHONPATH": places}
    done = subprocess.run([*program, *FLAGS.split()], capture_output=True, text=True, env=environment, timeout=100)
    log = file.with_suffix(".txt")
    log.write_text(done.stdout + done.stderr)
    return log


def exported(folder: Path, network: type[torch.nn.Module], precision: Precision) -> Path:
    file = folder / f"{network.__name__}-{precision}.tflite"
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    export(learned(network()), images[:1], file, precision, images)
    return file


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Precision], tuple[Path, Path]]:
    """Gives a file of a small residual network in a precision, and its log."""
    folder, known = tmp_path_factory.mktemp("logs"), dict[Precision, tuple[Path, Path]]()

    def files(precision: Precision) -> tuple[Path, Path]:
        if precision not in known:
            file = exported(folder, TinyResidual, precision)
            known[precision] = file, record(file)
        return known[precision]

    return files


def imported(log: Path, file: Path, *options: str) -> int:
    task = ("--model", file, "--device-name", "board", "--out", log.with_suffix(".json"))
    return amc_hw("table", "import", log, *task, *options)


@pytest.mark.parametrize("precision", FORMATS["tflite"].precisions)
def test_the_table_is_of_the_files_precision_and_every_kernel_fits_an_operator(
    logged: Callable[[Precision], tuple[Path, Path]], precision: Precision, capsys: pytest.CaptureFixture[str]
) -> None:
    file, log = logged(precision)
    assert imported(log, file) == 0
    table = load_table(log.with_suffix(".json"))
    assert table.fingerprint.dtype == DTYPES[precision]
    assert "fits no operator" not in capsys.readouterr().err
    filtered = {operator.family for operator in TfliteGraph(file.read_bytes()).operators() if operator.fan_in}
    families = set(table.families())
    assert filtered <= families
    assert any(family.startswith("QUANTIZE") for family in families) == (precision in ("int8", "int16x8"))
    assert imported(log, file, "--precision", precision) == 0


def test_another_precision_than_the_files_is_refused(
    logged: Callable[[Precision], tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    for precision, log_of in (("fp32", "int8"), ("int8", "int8-dynamic"), ("int8-dynamic", "fp32")):
        (file, _), (_, log) = logged(precision), logged(log_of)
        assert imported(log, file) == 2
        said = f"the logs have kernels of {DTYPES[log_of]}, but the network's file is of {DTYPES[precision]}"
        assert said in capsys.readouterr().err
    file, log = logged("fp16")  # its kernels are float32's
    assert imported(log, file, "--precision", "fp32") == 2
    assert "--dtype float32 contradicts the file, which says float16; leave --dtype out" in capsys.readouterr().err


def test_kernels_that_the_tool_adds_up_are_refused_with_the_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = exported(tmp_path, ChunksAndNeck, "fp32")  # the delegate runs it in two parts
    assert imported(record(file), file) == 1
    assert "under one name, because the delegate runs it in several parts" in capsys.readouterr().err
