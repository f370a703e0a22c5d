"""Taylor importance: one number a channel, for the ranking and for strategies that weigh channels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import TinyNet
from torch import nn

from amc_hw.errors import UsageError
from amc_hw.pruning.importance import find_ranking
from amc_hw.pruning.pruner import Pruner
from amc_hw.pruning.taylor import taylor_importance
from amc_hw.tracing.groups import trace

DRAW = torch.Generator().manual_seed(0)
IMAGES, LABELS = torch.randn(60, 1, 32, 32, generator=DRAW), torch.randint(10, (60,), generator=DRAW)


@pytest.fixture
def net() -> TinyNet:
    torch.manual_seed(0)
    net = TinyNet().eval()
    with torch.no_grad():
        net.conv2[0].weight[:, :6] = 0  # the first six channels of conv1 reach nothing
    return net


def test_channels_that_nobody_reads_have_no_importance(net: TinyNet) -> None:
    network = trace(net, IMAGES[:1])
    pruner = Pruner(net, network, IMAGES, labels=LABELS, importance="taylor")
    importance = pruner.channel_importance()
    assert {name: len(values) for name, values in importance.items()} == network.original
    assert set(pruner.kept({"conv1.0": 10})["conv1.0"]) == set(range(6, 16))
    assert min(importance["conv1.0"][:10]) > 0
    assert importance["conv1.0"][10:] == [0.0] * 6
    assert all(values == sorted(values, reverse=True) for values in importance.values())
    other = Pruner(net, network, IMAGES, labels=LABELS, importance="reconstruction").channel_importance()
    assert {name: sorted(values, reverse=True) for name, values in other.items()} == importance
    assert Pruner(net, network, IMAGES, labels=LABELS).channel_importance() == other


def test_it_is_the_change_of_the_loss_to_first_order(net: TinyNet) -> None:
    images, labels = IMAGES[:32], LABELS[:32]
    found = taylor_importance(net, trace(net, images[:1]).groups, images, labels)["conv2.0"]

    def loss(scale: float, channel: int) -> float:
        with torch.no_grad():
            net.conv2[1].weight[channel] *= scale
            net.conv2[1].bias[channel] *= scale
            value = F.cross_entropy(net(images), labels)
            net.conv2[1].weight[channel] /= scale
            net.conv2[1].bias[channel] /= scale
        return float(value)

    net.double()
    images = images.double()
    for channel in (0, 7, 31):
        slope = (loss(1 + 1e-5, channel) - loss(1 - 1e-5, channel)) / 2e-5
        assert float(found[channel]) == pytest.approx(slope**2, rel=1e-3, abs=1e-12)


def test_without_labels_the_networks_own_predictions_serve(net: TinyNet) -> None:
    groups = trace(net, IMAGES[:1]).groups
    net.classifier.weight.data *= 30  # sure of everything: its own best class has no gradient to speak of
    images = IMAGES.repeat(4, 1, 1, 1)
    drawn = net(images).softmax(1).multinomial(1, generator=torch.Generator().manual_seed(1))[:, 0]
    own, labelled = taylor_importance(net, groups, images), taylor_importance(net, groups, images, drawn)
    for name, values in own.items():
        ranks = torch.stack([values.argsort().argsort(), labelled[name].argsort().argsort()]).double()
        assert torch.corrcoef(ranks)[0, 1] > 0.7
    again = taylor_importance(net, groups, images)
    assert all(torch.equal(values, again[name]) for name, values in own.items())


def test_layers_without_norm_frozen_ones_and_norms_without_scale_are_ranked() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8, affine=False)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    ).eval()
    model.requires_grad_(False)
    found = taylor_importance(model, trace(model, IMAGES[:1]).groups, IMAGES, LABELS)
    assert {name: len(values) for name, values in found.items()} == {"0": 6, "2": 8}
    assert all((values > 0).all() for values in found.values())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_any_outputs_are_weighed_by_how_far_they_move() -> None:
    torch.manual_seed(0)
    body, head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3)
    with torch.no_grad():
        head.weight[:, 3:] *= 1e-3  # what the last channels say hardly reaches the output
    maps = nn.Sequential(body, nn.ReLU(), head).eval()
    network = trace(maps, IMAGES[:1])
    found = torch.tensor(Pruner(maps, network, IMAGES, importance="magnitude").channel_importance()["0"])
    weighed = taylor_importance(maps, network.groups, IMAGES, of_outputs=True)["0"]
    assert sorted(weighed.tolist()) == pytest.approx(sorted(found.tolist()))
    assert weighed[:3].min() > 100 * weighed[3:].max()
    by_name = Pruner(maps, network, IMAGES, importance="taylor").channel_importance()["0"]
    assert sorted(by_name) == pytest.approx(sorted(weighed.tolist()))


def test_wrong_use_is_refused(net: TinyNet) -> None:
    network = trace(net, IMAGES[:1])
    with pytest.raises(UsageError, match="3 labels for 60 calibration images"):
        Pruner(net, network, IMAGES, labels=LABELS[:3])
    maps = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3))
    with pytest.raises(UsageError, match="one score for each class"):
        Pruner(maps, trace(maps, IMAGES[:1]), IMAGES, labels=LABELS, importance="taylor")
    with pytest.raises(UsageError, match="did you mean 'taylor'"):
        find_ranking("tailor")
