"""What is told of the original before it is pruned."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amc_hw.budget.cost import Cost, Term
from amc_hw.budget.network_costs import network_costs
from amc_hw.pipeline import originals
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel


@pytest.mark.parametrize("shipped_ms", [0.5, 4.9])
def test_a_precision_that_is_slower_than_fp32_is_told(
    shipped_ms: float,
    traced: TracedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, device = RunFolder(tmp_path), SimpleNamespace(name="host", precision="int8", format="tflite", in_reach=True)
    timings = {"float": SimpleNamespace(latency_ms=1.0), "shipped": SimpleNamespace(latency_ms=shipped_ms)}
    monkeypatch.setattr(originals, "benchmark", lambda *_: timings)
    run.original("tflite").write_bytes(b"file")
    monkeypatch.setattr(originals, "export_originals", lambda *_: None)
    costs = network_costs(traced.network, Cost("latency_ms", [Term((), lambda _: 2.0)]), 100)
    made_up: Any = device
    known = originals.with_float_original(run, SimpleNamespace(network=traced.network), made_up, costs, [], SILENT)  # type: ignore[arg-type]
    assert known.of_float is not None
    assert known.of_float["latency_ms"] == pytest.approx(2.0 / shipped_ms)
    told = "host: the original takes 4.9 ms in int8 and 1 ms in fp32" in caplog.text
    assert told == (shipped_ms > 1)
