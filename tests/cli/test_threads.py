"""Threads that wait do not spin for long, unless the user wants it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = "import os; from amc_hw.cli.threads import wait_briefly as wait; wait(); print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_what_the_user_has_set_stays(given: dict[str, str], spins: str) -> None:
    ours = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", SHOW], env=ours | given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == spins


def test_pytorch_is_not_there_before_it_is_said() -> None:
    import_main = "import sys, amc_hw.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", import_main], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
