"""Skipped tests are failures in continuous integration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent / "support"
TESTS = """
import pytest
from strict_skips import NEEDS_GPU

def test_skipped():
    pytest.skip("no toybox")

@pytest.mark.skipif(True, reason=NEEDS_GPU)
def test_on_a_gpu():
    pass

@pytest.mark.xfail(strict=True)
def test_known_fault():
    assert False

def test_good():
    pass
"""


def outcome(folder: Path, ci: str, tests: str) -> str:
    (folder / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "strict_skips", "-p", "no:cacheprovider", "-q", folder]
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = {**os.environ, **hidden, "CI": ci, "PYTHONPATH": str(SUPPORT), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize(
    ("ci", "ending"), [("true", "1 failed, 1 passed, 1 skipped, 1 xfailed"), ("", "1 passed, 2 skipped, 1 xfailed")]
)
def test_only_a_missing_gpu_excuses_a_skipped_test(tmp_path: Path, ci: str, ending: str) -> None:
    told = outcome(tmp_path, ci, TESTS)
    assert ending in told
    assert ("no toybox" in told) == bool(ci)


def test_a_module_that_is_skipped_is_a_failure_too(tmp_path: Path) -> None:
    told = outcome(tmp_path, "true", "import pytest\npytest.importorskip('no_such_module')\n")
    assert "1 error" in told
    assert "no_such_module" in told
