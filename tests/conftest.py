"""What every test has: a cache folder of its own, and a tiny trained network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors gain nothing from more, and lose much on a busy machine

import pytest
from commands import TINY, amc_hw
from strict_skips import pytest_make_collect_report, pytest_runtest_makereport

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
