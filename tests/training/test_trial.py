"""What makes a training fail is found by one step before the work, or does not fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import TinyNet
from torch import Tensor, nn

from amc_hw.data.dataset import Data, load_data
from amc_hw.errors import UnsupportedModelError
from amc_hw.pipeline.trained import make_trained_model, require_trainable
from amc_hw.pruning.surgery import shrink
from amc_hw.tasks.classification import few_images
from amc_hw.training.compute import CPU
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe, recovery_recipe
from amc_hw.training.trial import thawed


class NormOfPooled(TinyNet):
    """Batch norm sees one value of each image: a single image has no variance."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(48)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(self.pool(self.conv3(self.conv2(self.conv1(x)))).flatten(1)))


class SecondHead(TinyNet):
    """Gives the scores of two heads while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        middle = self.conv2(self.conv1(x))
        scores = self.classifier(self.pool(self.conv3(middle)).flatten(1))
        return (scores, self.second(middle.mean((2, 3)))) if self.training else scores


class PartlyFrozen(TinyNet):
    def train(self, mode: bool = True) -> PartlyFrozen:
        super().train(mode)
        self.conv1.requires_grad_(False).eval()
        return self


class OnlyEvaluates(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        if self.conv1[1].training:
            raise ValueError("no training here")
        return super().forward(x)


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


def small(data: Data, images: int) -> Data:
    return replace(few_images(data, images, 0), search=few_images(replace(data, train=data.search), 20, 0).train)


@pytest.mark.parametrize("images", [9, 60, 129])
@pytest.mark.parametrize("kind", [TinyNet, NormOfPooled, SecondHead, PartlyFrozen])
def test_what_can_be_trained_is_fine_tuned_at_its_smallest(digits: Data, kind: type[TinyNet], images: int) -> None:
    data = small(digits, images)
    trained = make_trained_model(kind(), data)
    require_trainable(trained)
    kept = {group: range(counts[0]) for group, counts in trained.choices.items()}
    pruned = shrink(trained.model, trained.network, kept)
    history = train(pruned, data, recovery_recipe(images, epochs=1), teacher=trained.model)
    assert len(history.losses) == 1


def test_what_cannot_be_trained_is_refused_before_the_work(digits: Data) -> None:
    trained = make_trained_model(OnlyEvaluates(), digits)
    with pytest.raises(UnsupportedModelError, match=r"one step of training failed on a batch of .*no training here"):
        require_trainable(trained)
    with pytest.raises(UnsupportedModelError, match="one step of training failed"):
        train(OnlyEvaluates(), digits, Recipe(epochs=1, lr=0.1))


def test_single_images_are_refused_where_batch_norm_needs_more(digits: Data) -> None:
    with pytest.raises(UnsupportedModelError, match=r"batch of 1 images.*learn larger batches"):
        train(NormOfPooled(), small(digits, 20), Recipe(epochs=1, lr=0.01, batch_size=1))


def test_no_image_is_left_over_alone(digits: Data) -> None:
    part = small(digits, 65).train
    learned = [len(labels) for _, labels in part.batches(16, shuffle=True)]
    assert learned == part.batch_sizes(16) == [16, 16, 16, 17]
    assert small(digits, 66).train.batch_sizes(16) == [16, 16, 16, 16, 2]
    assert [len(labels) for _, labels in part.batches(16)] == [16, 16, 16, 16, 1]


def test_heads_that_are_left_out_are_told(digits: Data, caplog: pytest.LogCaptureFixture) -> None:
    require_trainable(make_trained_model(TinyNet(), digits))
    assert not caplog.records
    model = SecondHead()
    second = model.second.weight.clone()
    train(model, small(digits, 60), Recipe(epochs=1, lr=0.1))
    assert "other heads are left out" in caplog.text
    assert torch.equal(model.second.weight, second)
    assert not model.training


def test_frozen_parameters_learn_and_are_told(digits: Data, caplog: pytest.LogCaptureFixture) -> None:
    model = TinyNet().requires_grad_(False)
    copied = thawed(model)
    assert "are frozen" in caplog.text
    assert all(each.requires_grad for each in copied.parameters())
    assert not any(each.requires_grad for each in model.parameters())
    assert thawed(copied) is copied
    before = model.classifier.weight.clone()
    train(model, small(digits, 60), Recipe(epochs=1, lr=0.1, keep_last=True))
    assert not torch.equal(model.classifier.weight, before)


def test_trying_leaves_no_trace(digits: Data) -> None:
    trained = make_trained_model(TinyNet(), digits)
    before = {key: tensor.clone() for key, tensor in trained.model.state_dict().items()}
    state = torch.get_rng_state()
    require_trainable(trained)
    assert all(torch.equal(before[key], tensor) for key, tensor in trained.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not trained.model.training
    assert trained.compute == CPU
