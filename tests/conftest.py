"""What every test has: a cache folder of all tests, and a tiny network, trained, traced and converted once."""

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
from converted_once import ConvertsOnce, LowersOnce
from less import do_less
from strict_skips import pytest_make_collect_report, pytest_runtest_makereport
from tiny import TinyNet

from amc_hw.formats.executorch import convert as to_executorch
from amc_hw.formats.executorch import quantize as to_integer_executorch
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.template import lower
from amc_hw.tracing.traced import TracedModel, trace_model

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]


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
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of these tests have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    """The cache of all processes of the tests: what one has measured the others need not, and they do it in turns."""
    cache = shared / "cache"
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(scope="session", autouse=True)
def impatient() -> Iterator[None]:
    """See `less.do_less`; programs that tests start do it themselves."""
    with pytest.MonkeyPatch.context() as patch:
        do_less(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def converts_once(shared: Path) -> Iterator[None]:
    """Let converters convert a network once: ExecuTorch's, and LiteRT's where the tests have loaded that."""
    folder = shared / "converted"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        lowers_once = LowersOnce(to_executorch.lowered, folder)
        for module in (to_executorch, to_integer_executorch):
            patch.setattr(module, "lowered", lowers_once)
        if converter := sys.modules.get("litert_torch"):
            patch.setattr(converter, "convert", ConvertsOnce(converter.convert, folder))
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
