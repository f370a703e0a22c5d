"""Where ``CI`` is set, a skipped test is a failure, unless it needs a GPU, or ExecuTorch, and there is none.

ExecuTorch brings so much with it that resolving what it needs takes minutes: it is no part of what CI installs.

A pytest plugin: the conftest takes its hooks.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

NEEDS_GPU = "needs an NVIDIA GPU"
NO_EXECUTORCH = "could not import 'executorch'"

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _strict((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _strict((yield))


def _strict(report: Report) -> Report:
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI", "") not in ("", "0", "false"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NO_EXECUTORCH not in reason and not (NEEDS_GPU in reason and _lacks_gpu()):
            report.outcome = "failed"
            report.longrepr = f"{reason}\nThat is a failure where CI is set: install what the test needs (see .ci/run)."
    return report


def _lacks_gpu() -> bool:
    import torch

    return not torch.cuda.is_available()
