"""What files are timed with is what they are checked with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from amc_hw.formats.onnx.convert import to_onnx

PROFILERS = Path(__file__).parents[2] / "profilers"


def test_files_are_timed_with_exact_integer_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    from amc_hw.formats.onnx.session import EXACT

    monkeypatch.syspath_prepend(str(PROFILERS))
    import time_onnx

    monkeypatch.setattr(time_onnx.answering, "hold_to_cores", lambda threads: "")  # this process stays free
    (tmp_path / "m.onnx").write_bytes(to_onnx(nn.Conv2d(1, 8, 3).eval(), torch.zeros(1, 1, 8, 8)))
    session = time_onnx.Timer(1, "cpu", 1, 0).load(str(tmp_path / "m.onnx"))
    assert session.get_session_options().get_session_config_entry(EXACT) == "1"
    sys.modules.pop("time_onnx")
