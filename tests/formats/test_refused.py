"""Networks that no file can hold are refused with the reason."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from writers import available

from amc_hw.errors import UnsupportedModelError


class Chooses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) if x.mean() > 0.5 else self.other(x)


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "pte"])
def test_a_forward_that_looks_at_its_values_is_told_what_to_do(file_format: str) -> None:
    kind = available(file_format)
    with pytest.raises(UnsupportedModelError, match=r"chooses its way.*torch\.where") as told:
        kind.convert(Chooses().eval(), torch.rand(1, 3, 8, 8))
    assert "\x1b" not in str(told.value)
