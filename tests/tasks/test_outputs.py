"""The outputs of the original as the task: any inputs, no labels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from segments import discs, trained
from several import Pair, pairs
from tiny import TinyNet
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import amc_hw
from amc_hw import OriginalOutputs
from amc_hw.errors import UsageError


def test_a_network_is_near_to_itself_and_learns_to_be_nearer() -> None:
    model = trained()
    images, _ = discs(160, 5)
    task = OriginalOutputs(model, images)
    assert task.score(model) == task.test(model) == pytest.approx(1.0, abs=1e-5)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.7)
    before = task.score(other)
    for epoch in range(3):
        task.train(other, model, epoch, 3)
    assert before < task.score(other) < 1
    assert OriginalOutputs(model, images, measure="agreement").score(other) > 0.9


@pytest.mark.parametrize("kind", [DataLoader, list])
def test_loaders_with_labels_and_lists_of_batches_give_the_same_inputs(kind: Any) -> None:
    images, masks = discs(64, 5)
    loader = DataLoader(TensorDataset(images, masks), 16)
    batches = loader if kind is DataLoader else [images[i : i + 16] for i in range(0, 64, 16)]
    inputs = OriginalOutputs(trained(), batches).inputs
    assert torch.equal(inputs, OriginalOutputs(trained(), images).inputs)


def test_what_cannot_be_held_against_an_original_is_told() -> None:
    images, _ = discs(64, 5)
    with pytest.raises(UsageError, match="the network does not run on the inputs"):
        OriginalOutputs(trained(), images[:, :, :3, :3])
    one = nn.Sequential(nn.Flatten(), nn.Linear(16 * 24, 1))
    with pytest.raises(UsageError, match="no channels that could agree; take measure=error"):
        OriginalOutputs(one, images, measure="agreement")


def test_layers_are_learned_where_they_keep_their_channels() -> None:
    model = TinyNet()
    images = torch.randn(64, 1, 32, 32)
    for _ in range(40):  # so that its batch norms know what they see
        model(images)
    task = OriginalOutputs(model, images, layers=["conv2"])
    assert (task.train(copy.deepcopy(model), model, 0, 1) or 0) < 2
    with pytest.raises(UsageError, match="no layer 'conf2'"):
        OriginalOutputs(model, images, layers=["conf2"])
    smaller = copy.deepcopy(model)
    smaller.conv2 = nn.Sequential(nn.Conv2d(16, 8, 3, 2, 1), nn.Conv2d(8, 24, 1))
    smaller.conv3[0] = nn.Conv2d(24, 48, 3, 1, 1)
    with pytest.raises(UsageError, match="exclude=conv2"):
        task.train(smaller, model, 0, 1)


@pytest.mark.parametrize(("device", "as_dict"), [("onnx", True), ("host", False)])
def test_several_inputs_of_any_shape_go_all_the_way(
    device: str, as_dict: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("litert_torch" if device == "host" else "onnxruntime")
    if device == "host":
        request.getfixturevalue("simulated")
    torch.manual_seed(0)
    model, inputs = Pair().eval(), pairs(128, 0)
    given: Any = dict(zip(("picture", "numbers"), inputs, strict=True)) if as_dict else inputs
    settings: Any = {"device": device, "macs": "0.6x", "strategy": "uniform", "episodes": 2, "epochs": 1}
    result = amc_hw.compress(model, given, task=OriginalOutputs(model, given), run=tmp_path / "run", **settings)
    assert result.summary["original"]["accuracy"] > 0.99
    assert result.summary["compressed"]["macs"] <= 0.6 * result.summary["original"]["macs"]
    scores, mean = result.model(*inputs)
    assert (scores.shape, mean.shape) == ((128, 3), (128, 1))
    again = amc_hw.load(tmp_path / "run", model=Pair())
    assert torch.equal(again(*inputs)[0], scores)
    whole = amc_hw.compress(
        model, given, task=OriginalOutputs(model, given), run=tmp_path / "int8", precision="int8", **settings
    )
    assert whole.summary["precision"] == "int8"
    assert whole.summary["compressed"]["accuracy"] == pytest.approx(result.summary["compressed"]["accuracy"], abs=0.1)
