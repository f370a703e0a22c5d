"""Convolutions of one to three dimensions and transposed ones are fitted, folded and ranked like those of images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from amc_hw.pruning.filters import filters, set_filters
from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.pruning.formulas import Formulas, Operands
from amc_hw.pruning.positions import PositionSampler
from amc_hw.pruning.pruner import Pruner
from amc_hw.pruning.taylor import taylor_importance
from amc_hw.tracing.groups import trace

LAYERS = [
    nn.Conv1d(6, 8, 3, padding=1),
    nn.Conv1d(6, 4, 5, stride=2, padding=4, dilation=2, groups=2),
    nn.Conv1d(6, 8, 4, padding="same"),
    nn.Conv3d(6, 8, (1, 3, 2), padding=(0, 1, 2)),
    nn.Conv3d(6, 6, 3, stride=2, padding=1, groups=6),
    nn.ConvTranspose1d(6, 8, 3, stride=2, padding=1, output_padding=1),
    nn.ConvTranspose2d(6, 8, 2, stride=2),
    nn.ConvTranspose2d(6, 8, (3, 4), stride=(3, 1), padding=(1, 3), output_padding=(2, 0), dilation=(2, 1)),
    nn.ConvTranspose2d(6, 9, 4, stride=2, padding=1, groups=3),
    nn.ConvTranspose2d(6, 6, 3, stride=2, groups=6, bias=False),
    nn.ConvTranspose3d(6, 4, 2, stride=2, groups=2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("points", [7, 1000])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")  # torch's
def test_rows_times_filters_are_the_outputs(layer: Any, points: int) -> None:
    x = torch.randn(3, 6, *(5, 7, 4)[: len(layer.kernel_size)], generator=torch.Generator().manual_seed(0))
    seen: list[Operands] = []
    with Formulas({"layer": layer}, before=lambda _, operands: seen.append(operands)):
        wanted = layer(x)
    sampler = PositionSampler(points, 0, "layer")
    rows = sampler.inputs(seen[0])
    weights = filters(layer).view(layer.groups, -1, rows.shape[2])
    found = torch.einsum("ngi,goi->ngo", rows, weights).flatten(1)
    found = found if layer.bias is None else found + layer.bias
    torch.testing.assert_close(found, sampler.outputs(layer, wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_filters_are_put_back_where_they_were(layer: Any) -> None:
    before = layer.weight.detach().clone()
    set_filters(layer, filters(layer).detach().clone())
    assert torch.equal(layer.weight, before)


READERS = [
    (nn.Conv1d, nn.Conv1d(6, 5, 3)),
    (nn.Conv3d, nn.Conv3d(6, 5, 2)),
    (nn.Conv2d, nn.ConvTranspose2d(6, 5, 3, stride=2, padding=1)),
    (nn.Conv1d, nn.ConvTranspose1d(6, 5, 2, stride=2)),
]


@pytest.mark.parametrize(("first", "reader"), READERS, ids=str)
@pytest.mark.parametrize("reconstruction", ["original", "residual"])
def test_a_channel_that_repeats_another_is_made_up_for(first: Any, reader: Any, reconstruction: Any) -> None:
    torch.manual_seed(0)
    maker = first(2, 6, 3)
    for tensor in (maker.weight, maker.bias):
        tensor.data[3] = 2 * tensor.data[1]
    model = nn.Sequential(maker, nn.ReLU(), reader).eval()
    images = torch.randn(64, 2, *(7,) * len(maker.kernel_size))
    pruner = Pruner(model, trace(model, images[:1]), images, reconstruction=reconstruction, points=100)
    assert not pruner.not_reconstructed
    assert set(range(6)) - set(pruner.kept({"0": 5})["0"]) <= {1, 3}
    with torch.no_grad():
        lost = (model(images) - pruner.pruned({"0": 5})(images)).square().mean() / model(images).var()
    assert lost < 1e-5


@pytest.mark.parametrize("reconstruction", ["original", "residual"])
@pytest.mark.parametrize("importance", ["reconstruction", "magnitude"])
def test_a_channel_that_repeats_another_in_every_group_is_made_up_for(reconstruction: Any, importance: Any) -> None:
    torch.manual_seed(0)
    maker, reader = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 8, 3, groups=2)
    for tensor in (maker.weight, maker.bias):
        assert tensor is not None
        tensor.data[[2, 5]] = 2 * tensor.data[[1, 4]]
    reader.weight.data[:, 2] *= 0.1  # the weakest by its weights
    model = nn.Sequential(maker, nn.ReLU(), reader).eval()
    images = torch.randn(64, 2, 7, 7)
    network = trace(model, images[:1])
    pruner = Pruner(model, network, images, reconstruction=reconstruction, importance=importance, points=100)
    assert network.original == {"0": 3}
    assert pruner.kept({"0": 2})["0"] == [0, 1]
    with torch.no_grad():
        lost = (model(images) - pruner.pruned({"0": 2})(images)).square().mean() / model(images).var()
    assert lost < 1e-5


@pytest.mark.parametrize("groups", [1, 2])
def test_batch_norms_are_folded_into_transposed_convolutions(groups: int) -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=groups)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), up, nn.BatchNorm2d(6))
    model(torch.randn(8, 3, 5, 5))
    folded = fold_batch_norms(model.eval(), torch.zeros(2, 3, 5, 5))
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-5)
    assert [type(module) is nn.Identity for module in folded] == [False, True, False, groups == 1]


def test_the_taylor_importance_of_a_transposed_convolutions_outputs_is_that_of_the_norm_behind_it() -> None:
    """The norm's scale times its gradient is the sum of weights times theirs, where nothing is shifted."""
    torch.manual_seed(0)
    up, norm = nn.ConvTranspose1d(4, 6, 2, stride=2, bias=False), nn.BatchNorm1d(6)
    head = [nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3)]
    with_norm, without = nn.Sequential(up, norm, *head).eval(), nn.Sequential(up, *head).eval()
    images = torch.randn(8, 4, 6)
    norm.eps = 0.0
    found, wanted = (
        taylor_importance(model, trace(model, images[:1]).groups, images)["0"] for model in (without, with_norm)
    )
    torch.testing.assert_close(found, wanted)
