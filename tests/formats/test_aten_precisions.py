"""Files of ATen calls in 16 bits compute in 16 bits, and what these cannot hold is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_nets import TinyResidual, learned
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.aten.graph import AtenGraph
from amc_hw.formats.aten.stored import rounded, unpack
from amc_hw.formats.export import export
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.policy import Precision
from amc_hw.pruning.folding import fold_batch_norms

HALVES: list[tuple[Precision, torch.dtype]] = [("fp16", torch.float16), ("bf16", torch.bfloat16)]
PLACE = "cuda" if torch.cuda.is_available() else "cpu"


def images(count: int = 16) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("precision", "kind"), HALVES)
def test_a_file_of_16_bits_computes_what_the_network_does_in_them(
    precision: Precision, kind: torch.dtype, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, file = learned(TinyResidual()), tmp_path / "m.aten"
    export(model, images(1), file, precision, images())
    half = fold_batch_norms(model, images(1)).to(PLACE, kind)
    with torch.inference_mode():
        expected = torch.cat([half(image.to(PLACE, kind)) for image in images().split(1)]).float().cpu()
    given = torch.from_numpy(load_file(file)(images().numpy()))
    assert torch.equal(given, given.to(kind).float())
    assert given.argmax(1).equal(expected.argmax(1))
    torch.testing.assert_close(given, expected, rtol=0, atol=2 * float(expected.abs().max()) * torch.finfo(kind).eps)


@pytest.mark.parametrize(("precision", "kind"), HALVES)
def test_weights_go_to_the_nearest_number_and_come_back_as_they_are_stored(
    precision: Precision, kind: torch.dtype
) -> None:
    content = FORMATS["aten"].convert(learned(TinyResidual()), images(1))
    plain, half = unpack(content)[1], unpack(rounded(content, precision, np.empty(0)))[1]
    assert plain.keys() == half.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(torch.from_numpy(half[name]), torch.tensor(weight).to(kind).float(), rtol=0, atol=0)
    graph = AtenGraph(rounded(content, precision, np.empty(0)))
    assert graph.operators() == AtenGraph(content).operators()
    assert graph.packed({}, {}, {}) == rounded(content, precision, np.empty(0))


def test_numbers_that_float16_does_not_hold_are_told_with_the_cure(tmp_path: Path) -> None:
    model, file = learned(TinyResidual()), tmp_path / "m.aten"
    with torch.no_grad():
        model.classifier.weight *= 1e6
    with pytest.raises(UnsupportedModelError, match=r"would say nothing of .* precision=, such as bf16"):
        export(model, images(1), file, "fp16", images())
    assert not file.exists()
    export(model, images(1), file, "bf16", images())


def test_a_call_that_pytorch_has_not_in_16_bits_is_told_in_a_sentence(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            maps = self.stem(x)
            return maps.masked_fill(maps < 0, -1e30).amax((2, 3))

    with pytest.raises(UnsupportedModelError, match=r"not run this network in float16 \(.*\); choose another"):
        export(Masked().eval(), images(1), tmp_path / "m.aten", "fp16", images())
