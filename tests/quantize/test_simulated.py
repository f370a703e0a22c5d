"""What is simulated is what the file computes: rounding where the file rounds, and nowhere else."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from small_nets import ChunksAndNeck, JoinedEnds, TinyDetector
from tiny import TinyNet
from torch import Tensor, nn
from torch.nn import functional as F

from amc_hw.data.dataset import load_data
from amc_hw.errors import UnsupportedModelError
from amc_hw.models.zoo import build_model
from amc_hw.policy import Precision
from amc_hw.quantize.simulated import BITS, Grid, Simulated, rounded_weight
from amc_hw.quantize.tape import record
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe
from amc_hw.training.state import History


def images(count: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(0))


def learned(model: nn.Module) -> nn.Module:
    """Give a network batch-norm statistics of its own, so that folding them changes the weights' scales."""
    torch.manual_seed(0)
    with torch.no_grad():
        model.train()
        channels = next(parameter for parameter in model.parameters() if parameter.dim() == 4).shape[1]
        for seed in range(20):
            model(torch.randn(16, channels, 32, 32, generator=torch.Generator().manual_seed(seed)))
    return model.eval()


class Residual(nn.Module):
    """A sum with an activation behind it, a joined path, and a maximum that keeps its scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU6())
        self.inner = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16))
        self.last = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = F.relu(x + self.inner(x))
        z = torch.cat([F.avg_pool2d(x, 4), F.max_pool2d(y, 4)], 1)
        return self.last(z.mean((2, 3)))


class Bent(nn.Module):
    """Has activations that are several operators in the file, in place and not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Hardswish(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.LeakyReLU(0.2))
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.leaky_relu(self.second(self.first(x)) - 0.5, 1.5).mean((2, 3)))


@pytest.mark.parametrize("precision", list(BITS))
@pytest.mark.parametrize(
    "network", [TinyNet, ChunksAndNeck, TinyDetector, JoinedEnds, Residual, Bent, lambda: build_model("resnet20", 10)]
)
def test_the_simulation_is_near_to_the_file(network: type[nn.Module], precision: Precision) -> None:
    pytest.importorskip("litert_torch")
    from amc_hw.formats.registry import FORMATS

    torch.manual_seed(0)
    model = learned(network())
    channels = next(parameter for parameter in model.parameters() if parameter.dim() == 4).shape[1]
    seen, new = images(64, channels), images(96, channels)[64:]
    kind = FORMATS["tflite"].in_precision(precision, seen)
    written = torch.from_numpy(kind.load(kind.convert(model, seen[:1]))(new.numpy()))
    with torch.no_grad():
        simulated, plain = Simulated(model, seen, precision)(new), model(new)
    step = float(plain.max() - plain.min()) / 255
    off, rounding = (float((each - written).square().mean().sqrt()) for each in (simulated, plain))
    assert off <= 1.5 * step  # a norm that is not folded is four operators in the file, and one call here
    assert off <= (0.9 if network is ChunksAndNeck else 0.75) * rounding


def test_a_file_of_int8_alone_is_simulated_to_its_end() -> None:
    model, seen = learned(TinyDetector()), images(64)
    with torch.no_grad():
        scores = Simulated(model, seen, "int8", "int8")(seen)[:, 4:]
    assert not scores.any()  # they have the scale of the boxes, as in the file


def test_layers_before_a_joined_end_are_rounded() -> None:
    tape = record(learned(JoinedEnds()), images(2))
    rounded = [tape.calls[number].name for number in tape.rounded()]
    assert rounded == ["relu", "relu", "relu"]


def test_what_is_a_part_of_an_operator_is_not_rounded() -> None:
    tape = record(learned(Residual()), images(2))
    rounded = {number: tape.calls[number].name for number in tape.rounded()}
    # The first convolution with its norm and activation, the inner one with its norm, the sum with its activation ...
    assert list(rounded.values()) == ["relu6", "batch_norm", "relu", "avg_pool2d", "mean", "linear"]
    scale = {name: tape.rounded()[number] for number, name in rounded.items()}
    assert scale["relu"] == scale["avg_pool2d"]  # they are joined, so they have one
    assert len(set(scale.values())) == 5


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (0.5, 2.0), (-2.0, -1.0), (0.0, 0.0)])
def test_a_grid_has_zero_and_its_ends(low: float, high: float) -> None:
    for bits in BITS.values():
        grid = Grid.between(low, high, bits)
        x = torch.tensor([min(low, 0.0), 0.0, max(high, 0.0)])
        assert torch.allclose(grid(x), x, atol=0.51 * grid.scale)
        assert grid(torch.zeros(1)) == 0


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_a_grid_and_its_gradient_are_those_of_torchs_fake_quantization(low: float) -> None:
    grid = Grid.between(low, 3.0)
    x = (torch.rand(2000, generator=torch.Generator().manual_seed(0)) * 6 - 2).requires_grad_()
    theirs = torch.fake_quantize_per_tensor_affine(x, grid.scale, grid.zero, grid.least, grid.most)

    assert torch.equal(torch.round(grid(x) / grid.scale), torch.round(theirs / grid.scale))
    gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (grid(x), theirs)]
    differ = x.detach()[gradients[0] != gradients[1]]
    ends = torch.tensor([(end - grid.zero) * grid.scale for end in (grid.least, grid.most)])
    assert bool(((differ[:, None] - ends).abs().amin(1) <= 0.5 * grid.scale).all()), "only within half a step of an end"


def test_weights_are_rounded_by_channel_with_their_norm_folded_in() -> None:
    model = learned(TinyNet())
    layer, norm = model.conv1[0], model.conv1[1]
    factor = (norm.weight * torch.rsqrt(norm.running_var + norm.eps)).detach().view(-1, 1, 1, 1)
    whole = rounded_weight(layer.weight, norm).detach() * factor
    steps = whole / (whole.abs().amax((1, 2, 3), keepdim=True) / 127)
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert torch.allclose(whole, layer.weight * factor, atol=float(whole.abs().max()) / 127)


def test_it_learns_at_a_fine_tuning_s_rate_and_looks_at_its_ranges_again() -> None:
    model = learned(TinyNet())
    simulated = Simulated(model, images(16, 1)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer, losses = torch.optim.SGD(simulated.parameters(), lr=0.1, momentum=0.9), list[float]()
    for step in range(60):
        if step % 10 == 0:  # an epoch: this network's outputs grow from nothing
            simulated.eval().train()
        optimizer.zero_grad()
        loss = F.cross_entropy(simulated(images(10, 1)), torch.arange(10))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = model.state_dict()
    assert losses[-1] < 0.2 * losses[0]
    assert all(not torch.equal(before[key], after[key]) for key in before if key.endswith(("0.weight", "running_var")))
    grids = dict(simulated._grids)
    simulated.eval()
    assert grids != simulated._grids


def test_a_copy_computes_the_same_with_weights_of_its_own() -> None:
    simulated = Simulated(learned(TinyNet()), images(16, 1))
    twin = copy.deepcopy(simulated)
    with torch.no_grad():
        before = simulated(images(4, 1))
        assert torch.equal(twin.eval()(images(4, 1)), before)
        for parameter in twin.parameters():
            parameter.mul_(0.5)
        assert not torch.equal(twin.eval()(images(4, 1)), before)
        assert torch.equal(simulated(images(4, 1)), before)


class Dropped(nn.Module):
    """Drops its branch for some images while it learns, with calls that evaluation does not make."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(1, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        y = self.norm(self.inner(x))
        if self.training:
            y = y * torch.empty(len(y), 1, 1, 1).bernoulli_(0.8) / 0.8
        return self.last((x + y).relu().mean((2, 3)))


class WithHead(nn.Module):
    """Gives a second result while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.tiny = TinyNet()

    def forward(self, x: Tensor) -> Tensor:
        result = self.tiny(x)
        return (result, result) if self.training else result


@pytest.mark.parametrize("network", [TinyNet, Dropped, WithHead])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_training_goes_on_where_it_stopped(network: type[nn.Module], ema: float | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start, data, recipe = network(), load_data("digits"), Recipe(epochs=3, lr=0.02, batch_size=64, ema=ema)
    seen = data.train.first(32, 0)[0]

    def learned_until(epoch: int, state: Path) -> tuple[list[float], dict[str, Tensor]]:
        def stop(history: History) -> None:
            if len(history.losses) == epoch:
                raise KeyboardInterrupt

        model = copy.deepcopy(start)
        with contextlib.suppress(KeyboardInterrupt):
            history = train(Simulated(model, seen), data, recipe, state_path=state, listener=stop)
            return history.losses, model.state_dict()
        return [], {}

    whole = learned_until(9, tmp_path / "whole")
    learned_until(1, tmp_path / "stopped")
    again = learned_until(9, tmp_path / "stopped")
    assert again[0] == whole[0]
    assert all(torch.equal(again[1][key], whole[1][key]) for key in whole[1])
    assert whole[0][-1] < whole[0][0]


class Standardised(nn.Module):
    """Four layers whose weights are made anew by every call."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(8, 8, 3, 3)) for _ in range(4)])
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for weight in self.weights:
            x = F.conv2d(x, (weight - weight.mean()) / weight.std() / 9, padding=1).relu()
        return self.last(x.mean((2, 3)))


def test_weights_that_are_made_anew_are_not_mistaken_for_each_other() -> None:
    torch.manual_seed(0)
    model = Standardised().eval()
    simulated = Simulated(model, images(32, 1))
    with torch.no_grad():
        one, other, plain = simulated(images(16, 1)), simulated(images(16, 1)), model(images(16, 1))
    assert torch.equal(one, other)
    assert float((one - plain).abs().max()) < 8 * float(plain.max() - plain.min()) / 255


class Wayward(nn.Module):
    """Takes another way for many images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x) if len(x) < 40 else torch.tanh(self.layer(x))
        return x.mean((2, 3))


def test_another_way_for_other_images_is_refused() -> None:
    simulated = Simulated(Wayward().eval(), images(8, 1))
    with pytest.raises(UnsupportedModelError, match="another way for other images"):
        simulated(images(64, 1))


def test_the_same_network_is_simulated_alike_twice() -> None:
    model = learned(ChunksAndNeck())
    with torch.no_grad():
        one, other = (Simulated(model, images())(images(4)) for _ in range(2))
    assert np.array_equal(one.numpy(), other.numpy())
