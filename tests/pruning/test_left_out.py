"""Networks without some of their residual blocks: what follows is fitted, and a run's file brings them back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from amc_hw.data.dataset import load_data
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.models.resnet import BasicBlock
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.trained import TrainedModel, make_trained_model
from amc_hw.pruning.pruner import Pruner
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import ChosenPolicy


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *(BasicBlock(16, 16, 1, residual=True) for _ in range(3)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    data = load_data("digits", None, 32)
    model(data.train.first(256, 0)[0])  # batch norms with statistics of their own
    return make_trained_model(model, data)


@pytest.fixture(scope="module")
def images(trained: TrainedModel) -> Tensor:
    return trained.data.train.first(128, 1)[0]


def without(trained: TrainedModel, *out: int) -> dict[str, int]:
    return dict(trained.network.original) | {trained.network.blocks[index].group: 0 for index in out}


@pytest.mark.parametrize("out", [(0,), (1,), (0, 1), (2,)])
def test_what_follows_makes_up_for_a_block(trained: TrainedModel, images: Tensor, out: tuple[int, ...]) -> None:
    unseen = trained.data.search.first(64, 2)[0]
    errors = []
    for how in ("none", "residual"):
        pruner = Pruner(trained.model, trained.network, images, reconstruction=how)
        with torch.no_grad():
            small = pruner.pruned(without(trained, *out), thorough=True)
            errors.append(float((small(unseen) - trained.model(unseen)).square().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_the_same_policy_gives_the_same_network(trained: TrainedModel, images: Tensor) -> None:
    pruner = Pruner(trained.model, trained.network, images)
    first = pruner.pruned(without(trained, 1))
    pruner.pruned(without(trained, 0, 2))
    pruner.pruned(without(trained))
    again = pruner.pruned(without(trained, 1))
    assert first.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_a_run_brings_it_back(trained: TrainedModel, images: Tensor, tmp_path: Path) -> None:
    policy = without(trained, 0, 2) | {trained.network.blocks[1].group: 8}
    small = Pruner(trained.model, trained.network, images).pruned(policy)
    run = RunFolder(tmp_path)
    run.policy.write(ChosenPolicy(channels=policy))
    save_checkpoint(small, run.pruned)
    with torch.no_grad():
        assert torch.equal(restore(run, trained, run.pruned)(images), small(images))
