"""`evaluate` on a file that gives more than the scores of the classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from amc_hw.formats.export import export
from amc_hw.pipeline.evaluate import evaluate_on_test
from amc_hw.runs.progress import SILENT


class Heads(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(64, 10) for _ in range(count))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(head(nn.functional.adaptive_avg_pool2d(image, 8).flatten(1)) for head in self.heads)


@pytest.mark.parametrize("count", [1, 2])
def test_of_several_outputs_the_first_is_taken_which_is_said(
    count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    export(Heads(count).eval(), torch.zeros(1, 1, 32, 32), file := tmp_path / "heads.onnx")
    name, metric, accuracy = evaluate_on_test(file, None, "digits", None, SILENT)
    assert (name, metric) == (str(file), "top-1")
    assert 0 <= accuracy < 0.5
    assert ("heads.onnx has several outputs; the first one is taken" in caplog.text) == (count > 1)
