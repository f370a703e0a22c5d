"""Which optimizer a network learns by, and that a pruned transformer's large weights do not make it diverge."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_nets import TinyResidual, learned
from tiny import TinyNet
from torch import Tensor, nn
from torch.nn import functional as F

from amc_hw.data.dataset import load_data
from amc_hw.errors import DivergedError
from amc_hw.models.checkpoint_file import load_plain
from amc_hw.quantize.simulated import Simulated
from amc_hw.tasks import classification
from amc_hw.tasks.classification import Classification
from amc_hw.tasks.goal import Finetuning
from amc_hw.training.loop import train
from amc_hw.training.optimizer import suited_optimizer, take_step
from amc_hw.training.recipe import recovery_recipe
from amc_hw.training.state import History


class TinyTransformer(nn.Module):
    """Patches, one block of attention and one of a perceptron."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head((x + self.perceptron(x)).mean(1))  # type: ignore[no-any-return]


def fitted_transformer() -> nn.Module:
    """Return one with weights as large as those that least squares leave in a pruned one."""
    torch.manual_seed(0)
    model = TinyTransformer()
    with torch.no_grad():
        for each in model.perceptron.parameters():
            each.mul_(15)
    return model.eval()


def test_batch_norms_behind_the_weights_decide() -> None:
    torch.manual_seed(0)
    assert suited_optimizer(TinyNet()) == "sgd"
    assert suited_optimizer(TinyTransformer()) == "adamw"
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 10))
    assert suited_optimizer(plain) == "adamw"
    residual = learned(TinyResidual())
    assert suited_optimizer(Simulated(residual, torch.rand(4, 3, 32, 32))) == suited_optimizer(residual) == "sgd"


def test_large_weights_of_a_transformer_are_fine_tuned(tmp_path: Path) -> None:
    data, model = load_data("digits"), fitted_transformer()
    goal = Classification(data)
    by_sgd = recovery_recipe(len(data.train), 1)
    with pytest.raises(DivergedError):
        train(copy.deepcopy(model), data, by_sgd)
    history = goal.finetune(model, copy.deepcopy(model), Finetuning(epochs=2, seed=0))
    first, last = history.losses
    assert first is not None
    assert last is not None
    assert last < first < math.inf


def stepped(scales: list[float]) -> list[float]:
    """How far SGD's first step of momentum 0 moves a weight by gradients of sizes."""
    layer = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    moved = []
    for scale in scales:
        before = layer.weight.item()
        layer.weight.grad = torch.full((1, 1), scale)
        take_step(optimizer)
        moved.append(before - layer.weight.item())
    return moved


def test_a_gradient_that_leaps_is_shortened_and_no_other() -> None:
    calm = [3.0, 5.0, 2.0, 4.0, 3.0] * 10
    *before, leap, after = stepped([*calm, 400.0, 3.0])
    assert before == pytest.approx(calm, rel=1e-3)
    assert 20 < leap < 50  # ten times the usual
    assert after == pytest.approx(3.0, rel=1e-3)
    assert stepped([1e-3] * 20 + [0.9]) == pytest.approx([1e-3] * 20 + [0.9], rel=1e-3)  # it is short enough
    assert stepped([0.0, 0.5, 20.0]) == pytest.approx([0.0, 0.5, 1.0], rel=1e-3)


def test_states_of_sgd_are_those_of_versions_that_had_nothing_else(tmp_path: Path) -> None:
    data, state = load_data("digits"), tmp_path / "state.pt"
    train(TinyNet(), data, replace(recovery_recipe(len(data.train), 1), lr=0.01), state_path=state)
    assert "optimizer" not in load_plain(state, torch.device("cpu"))["identity"]


def test_a_candidate_that_diverges_is_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverges(*_: object, **__: object) -> History:
        raise DivergedError("training diverged in epoch 1: the loss is nan", "choose a learning rate below 1")

    monkeypatch.setattr(classification, "train", diverges)
    goal, model = Classification(load_data("digits")), TinyNet()
    assert goal.short_finetune(model, model, 1e6, 0) == 0
    with pytest.raises(DivergedError, match=r"^training diverged in epoch 1: the loss is nan; .*task=.*epochs=0\.$"):
        goal.finetune(model, model, Finetuning(epochs=2, seed=0))
