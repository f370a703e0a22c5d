"""An int8 TFLite file has no operator that XNNPACK does not run in whole numbers, where another says the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amc_hw.formats.check import TOLERANCE
from amc_hw.formats.registry import FORMATS

pytest.importorskip("litert_torch")

from amc_hw.formats.tflite import one_part
from amc_hw.formats.tflite.convert import TfliteModel
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.formats.tflite.one_part import in_one_part
from amc_hw.formats.tflite.parts import between_parts
from amc_hw.formats.tflite.quantize import quantized


class Between(nn.Module):
    """Has a function between two convolutions, and one at its end."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.last, self.function = nn.Linear(16, 10), function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.second(self.function(self.first(x)))).mean((2, 3)))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "HARD_SWISH": F.hardswish,
    "LEAKY_RELU": lambda x: F.leaky_relu(x, 0.1),
    "RELU": lambda x: F.relu(torch.cat([x[:, :8], -x[:, 8:]], 1)),
    "RELU6": lambda x: F.relu6(torch.cat([20 * x[:, :8], -x[:, 8:]], 1)),
    "AVERAGE_POOL_2D": lambda x: F.avg_pool2d(x, 3, 2),
}


def images() -> Tensor:
    return 2 * torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_operators_without_integers_are_written_with_such_as_have_them(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = images()
    content = FORMATS["tflite"].convert(Between(FUNCTIONS[kind]).eval(), seen[:1])
    assert TfliteGraph(content).kinds.count(kind) == 2
    other = in_one_part(content)
    assert kind == "LEAKY_RELU" or kind not in TfliteGraph(other).kinds
    before, after = TfliteModel(content)(seen.numpy()), TfliteModel(other)(seen.numpy())
    assert np.abs(before - after).max() <= TOLERANCE * np.abs(before).max()

    integers = quantized(content, "int8", [seen.numpy()])
    assert not between_parts(integers)
    assert not TfliteGraph(integers).float_kinds()
    assert TfliteGraph(integers).kinds.count("QUANTIZE") == TfliteGraph(integers).kinds.count("DEQUANTIZE") == 1
    for rewrite in ("in_one_part", "slopes_of_integers"):
        monkeypatch.setattr(one_part, rewrite, lambda content: content)
    plain = quantized(content, "int8", [seen.numpy()])
    assert between_parts(plain) or TfliteGraph(plain).float_kinds()
    noise, as_before = (np.square(TfliteModel(each)(seen.numpy()) - before).mean() for each in (integers, plain))
    assert noise <= 1.5 * as_before


def test_what_is_in_one_part_already_stays_as_it_is() -> None:
    content = FORMATS["tflite"].convert(Between(torch.tanh).eval(), images()[:1])
    assert in_one_part(content) is content


class Forked(nn.Module):
    """What its slopes read and give goes elsewhere, too: to a sum, and out of the network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        y = self.second(F.leaky_relu(x, 0.2)) + x
        z = F.leaky_relu(y, 1.5)
        return z, self.second(z).mean((2, 3))


def test_slopes_whose_ends_others_read_give_what_they_did() -> None:
    seen = images()
    content = FORMATS["tflite"].convert(Forked().eval(), seen[:1])
    before = TfliteModel(content).outputs([seen.numpy()])
    after = TfliteModel(quantized(content, "int8", [seen.numpy()])).outputs([seen.numpy()])
    for one, other in zip(before, after, strict=True):
        assert np.sqrt(np.square(one - other).mean()) < 0.1 * (one - one.mean(0)).std()


class Silent(nn.Module):
    """Squeezes that give nothing: their results are always 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.squeeze, self.excite = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.last = nn.Linear(16, 10)
        nn.init.constant_(self.squeeze.bias, -100.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        gate = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()
        return self.last((x * gate).mean((2, 3)))


def test_a_file_of_a_network_with_results_that_are_always_0_runs() -> None:
    seen = images()
    content = FORMATS["tflite"].convert(Silent().eval(), seen[:1])
    before = TfliteModel(content)(seen.numpy())
    after = TfliteModel(quantized(content, "int8", [seen.numpy()]))(seen.numpy())
    assert np.sqrt(np.square(after - before).mean()) < 0.2 * (before - before.mean(0)).std()
