"""Patterns choose which channel groups may be pruned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.models.zoo import build_model
from amc_hw.tracing.groups import trace
from amc_hw.tracing.network import Why
from amc_hw.tracing.traced import PruningChoices, trace_model


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return build_model("resnet20", 10)


@pytest.fixture(scope="module")
def everything(resnet: nn.Module) -> list[str]:
    return list(trace(resnet, torch.zeros(1, 3, 32, 32)).original)


def groups_of(model: nn.Module, **patterns: list[str]) -> list[str]:
    return list(trace(model, torch.zeros(1, 3, 32, 32), **patterns).original)


def test_what_is_excluded_stays_whole_and_says_why(resnet: nn.Module, everything: list[str]) -> None:
    network = trace(resnet, torch.zeros(1, 3, 32, 32), exclude=["layer1.*", "layer3.0.conv1"])
    gone = {name for name in everything if name.startswith("layer1.") or name == "layer3.0.conv1"}
    assert len(gone) == 4
    assert list(network.original) == [name for name in everything if name not in gone]
    assert network.unprunable["layer1.2.conv1"] == "excluded by layer1.*"
    assert network.unprunable["layer3.0.conv1"] == "excluded by layer3.0.conv1"


def test_only_what_is_included_and_not_excluded_is_pruned(resnet: nn.Module, everything: list[str]) -> None:
    found = groups_of(resnet, include=["layer2.*", "layer3"], exclude=["*.1.conv1"])
    assert found == [name for name in everything if name[:6] in ("layer2", "layer3") and ".1.conv1" not in name]
    network = trace(resnet, torch.zeros(1, 3, 32, 32), include=["layer2.*", "layer3"])
    assert network.unprunable["layer1.0.conv1"] == "not among those to include: layer2.*, layer3"


def test_any_layer_that_makes_the_channels_decides_for_the_group() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1)
    )
    assert groups_of(model) == ["0", "2"]
    assert groups_of(model, exclude=["1"]) == ["2"]  # the depthwise layer makes channels of group 0, too
    assert groups_of(model, include=["1"]) == ["0"]
    assert groups_of(model, exclude=["2"]) == ["0"]  # which reads them, and makes none of them


def test_a_pattern_without_a_layer_names_the_nearest(resnet: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"exclude=layr1 matches no layer; the nearest names are layer1"):
        groups_of(resnet, exclude=["layr1"])
    with pytest.raises(UsageError, match=r"include=layer3.0.bn1 matches no layer; .*layer3.0.conv1"):
        groups_of(resnet, include=["layer3.0.bn1"])
    with pytest.raises(UsageError, match=r"exclude=conf2 matches no layer; the nearest names are '\*\.conv2', "):
        groups_of(resnet, exclude=["conf2"])
    with pytest.raises(UsageError, match=r"exclude=\? matches no layer; the network consists of conv1, layer1,"):
        groups_of(resnet, exclude=["?"])


def test_nothing_left_to_prune(resnet: nn.Module) -> None:
    with pytest.raises(UsageError, match="no layer is left to prune"):
        trace_model(resnet, (3, 32, 32), PruningChoices(exclude=("*",)))


def test_what_the_user_left_out_is_no_reason_of_the_network(resnet: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"\(of the others: conv1: its channels go through convolution") as refusal:
        trace_model(resnet, (3, 32, 32), PruningChoices(include=("linear",)))
    assert "not among" not in str(refusal.value)
    network = trace_model(resnet, (3, 32, 32), PruningChoices(exclude=("layer1.*",))).network
    who = {layer: reason.why for layer, reason in network.reasons.items()}
    assert (who["layer1.2.conv1"], who["linear"]) == (Why.USER, Why.NETWORK)


def test_a_group_with_nothing_to_choose_is_named() -> None:
    narrow, last = nn.Conv2d(3, 2, 1), nn.Conv2d(16, 3, 1)
    traced = trace_model(nn.Sequential(narrow, nn.Conv2d(2, 16, 1), last), (3, 8, 8))
    said = "what can go of it are 2 units (channels, or heads or groups of them), and at least 2 stay"
    assert traced.network.unprunable == {"2": "it is the network's output", "0": said}
    with pytest.raises(UnsupportedModelError, match=r"no layer of this network can be pruned .*can go of it are 2"):
        trace_model(nn.Sequential(narrow, nn.Conv2d(2, 3, 1)), (3, 8, 8))
