"""What every test has: a cache folder of its own, and a tiny network, trained, traced and converted once."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors gain nothing from more, and lose much on a busy machine

import pytest
import torch
from commands import TINY, amc_hw
from converted_once import ConvertsOnce
from strict_skips import pytest_make_collect_report, pytest_runtest_makereport
from tiny import TinyNet

from amc_hw.devices.effort import Effort
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.template import lower
from amc_hw.tracing.traced import TracedModel, trace_model

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]
FEW_MEASUREMENTS = Effort(networks=16, calibration=12, visits=4, totals=60, total_visits=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, those that compress networks, so that no process is left alone with one.

    They are known by the trained network that their tests ask for.
    """
    long = {item.path for item in items if "checkpoint" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection() -> None:
    """Let no garbage be looked for while the libraries are loaded: there is none."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Go through what the libraries hold for good no more, and seldom through the rest: it took a tenth of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000)
    gc.enable()


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a function that imports a file of the benchmarks."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")

    def load(name: str) -> ModuleType:
        __import__(name)
        return sys.modules[name]

    return load


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The cache of this process of the tests; the locks are those of all of them, so that they measure in turns."""
    cache = tmp_path_factory.mktemp("cache")
    if worker_id != "master":
        locks = tmp_path_factory.getbasetemp().parent / "locks"
        locks.mkdir(exist_ok=True)
        (cache / "amc-hw").mkdir()
        (cache / "amc-hw" / "locks").symlink_to(locks)
    return cache


@pytest.fixture(scope="session", autouse=True)
def impatient() -> Iterator[None]:
    """Benchmarks do not wait long for a busy machine to get steady, short fine-tunes see every image once, and the
    tables of this computer are made of few measurements: that they are made and used is tested, not how good they are.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amc_hw.devices.computers.profiled.ProfiledDevice.effort", FEW_MEASUREMENTS)
        patch.setattr("amc_hw.tasks.classification.MOST_EPOCHS", 1)
        patch.setattr("amc_hw.profiling.benchmark.PATIENCE_S", 3.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def converts_once() -> Iterator[None]:
    """Where the tests have loaded LiteRT's converter, it converts a network once."""
    with pytest.MonkeyPatch.context() as patch:
        if converter := sys.modules.get("litert_torch"):
            patch.setattr(converter, "convert", ConvertsOnce(converter.convert))
        yield


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep latency tables out of the user's cache; tests share what they measure."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network trained on the digits for a few epochs."""
    out = tmp_path_factory.mktemp("trained") / "tiny.pt"
    assert amc_hw("train", "--model", TINY, "--data", "digits", "--epochs", 6, "--out", out, "--json") == 0
    return out


@pytest.fixture(scope="session")
def traced() -> TracedModel:
    torch.manual_seed(0)
    return trace_model(TinyNet(), (1, 32, 32))


@pytest.fixture(scope="session")
def template(traced: TracedModel) -> GraphTemplate:
    pytest.importorskip("litert_torch")
    return lower(traced.model, traced.network, traced.example, FORMATS["tflite"])
