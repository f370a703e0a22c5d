"""What every test has: a cache folder of its own, and a tiny network, trained, traced and converted once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors gain nothing from more, and lose much on a busy machine

import pytest
import torch
from commands import TINY, amc_hw
from strict_skips import pytest_make_collect_report, pytest_runtest_makereport
from tiny import TinyNet

from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.template import lower
from amc_hw.tracing.traced import TracedModel, trace_model

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]


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
    """Benchmarks do not wait long for a busy machine to get steady."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amc_hw.profiling.benchmark.PATIENCE_S", 3.0)
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
