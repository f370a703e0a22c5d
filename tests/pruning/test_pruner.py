from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.pruning import pruner as pruner_module
from amc_hw.pruning.contexts import find_contexts
from amc_hw.pruning.pruner import Pruner
from amc_hw.pruning.surgery import shrink
from amc_hw.tracing.groups import Network, trace


class Residual(nn.Module):
    """A small residual network with a depthwise block, for 8 x 8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.ModuleList(self._block(24, groups) for groups in (1, 24, 1))
        self.head = nn.Linear(16, 10)

    @staticmethod
    def _block(inner: int, groups: int) -> nn.Sequential:
        first = nn.Conv2d(16, inner, 3, padding=1, bias=False)
        middle = [nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU()]
        last = [nn.Conv2d(inner, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)]
        return nn.Sequential(first, nn.BatchNorm2d(inner), nn.ReLU(), *(middle if groups > 1 else []), *last)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = F.relu(block(x) + x)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return (torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16)[order], torch.tensor(labels)[order]


@pytest.fixture(scope="module")
def trained(digits: tuple[Tensor, Tensor]) -> nn.Module:
    torch.manual_seed(0)
    model = Residual()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(6):
        for index in torch.randperm(1400).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(digits[0][index]), digits[1][index]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def network(trained: nn.Module) -> Network:
    return trace(trained, torch.zeros(1, 1, 8, 8))


def inner_halved(network: Network) -> dict[str, int]:
    return {name: count if name.startswith("stem") else count // 3 for name, count in network.original.items()}


def distance(model: nn.Module, small: nn.Module, images: Tensor) -> float:
    with torch.no_grad():
        return float((model(images) - small(images)).square().mean())


def test_each_step_of_reconstruction_comes_nearer_to_the_original(
    trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor]
) -> None:
    policy = inner_halved(network)
    unseen = digits[0][1400:]
    found: dict[str, float] = {}
    for name in ("none", "original", "sequential", "residual"):
        pruner = Pruner(trained, network, digits[0][:400], reconstruction=name)  # type: ignore[arg-type]
        found[name] = distance(trained, pruner.pruned(policy), unseen)
    found["thorough"] = distance(trained, pruner.pruned(policy, thorough=True), unseen)
    assert (
        found["none"] > 2 * found["original"] > 2 * found["sequential"] > 2 * found["residual"] > 2 * found["thorough"]
    )


def test_reconstruction_keeps_the_accuracy(trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits[0][1400:], digits[1][1400:]

    def accuracy(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(images).argmax(1) == labels).float().mean())

    policy = inner_halved(network)
    fitted = Pruner(trained, network, digits[0][:400]).pruned(policy, thorough=True)
    sliced = Pruner(trained, network, digits[0][:400], reconstruction="none").pruned(policy)
    assert accuracy(trained) > 0.9
    # What is lost by slicing depends on the training; refitting must win back more than half of it.
    assert accuracy(trained) - accuracy(fitted) < (accuracy(trained) - accuracy(sliced)) / 2


def test_the_full_policy_gives_the_original(
    trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor]
) -> None:
    small = Pruner(trained, network, digits[0][:50]).pruned(network.original, thorough=True)
    assert distance(trained, small, digits[0][:50]) == 0


def test_more_channels_than_there_are_are_refused(
    trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor]
) -> None:
    group, channels = next(iter(network.original.items()))
    with pytest.raises(UsageError, match=f"keeps {channels + 1} channels of {group}, which has {channels}"):
        Pruner(trained, network, digits[0][:50]).pruned({group: channels + 1})


def test_the_same_policy_gives_the_same_network_in_any_order(
    trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor]
) -> None:
    policy = inner_halved(network)
    first = Pruner(trained, network, digits[0][:100])
    other = Pruner(trained, network, digits[0][:100])
    other.pruned(dict.fromkeys(policy, 1))
    other.pruned(policy, thorough=True)
    states = first.pruned(policy).state_dict(), other.pruned(policy).state_dict()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_fewer_channels_are_among_those_of_more(
    trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor]
) -> None:
    pruner = Pruner(trained, network, digits[0][:50])
    for name, count in network.original.items():
        less, more = (set(pruner.kept({name: n})[name]) for n in (count // 3, count // 2))
        assert less < more
        assert len(more) == count // 2


def test_the_model_is_left_as_it_was(trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor]) -> None:
    model = copy.deepcopy(trained).train()
    before = copy.deepcopy(model.state_dict())
    small = Pruner(model, network, digits[0][:50]).pruned(inner_halved(network), thorough=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert not small.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small.modules())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("name", ["original", "sequential", "residual"])
def test_what_a_redundant_channel_brought_is_given_back(bias: bool, norm: bool, name: Any) -> None:
    """Two equal channels and a constant one can go: the reader's weights and the bias, or its batch norm, make up."""
    torch.manual_seed(0)
    first = nn.Conv2d(2, 6, 3)
    first.weight.data[3] = first.weight.data[1]
    first.bias.data[3] = first.bias.data[1]
    constant = bias or norm
    if constant:
        first.weight.data[0] = 0
        first.bias.data[0] = 2
    reader = nn.Conv2d(6, 5, 3, bias=bias)
    model = nn.Sequential(first, nn.ReLU(), reader, *([nn.BatchNorm2d(5)] if norm else []), nn.Conv2d(5, 3, 1)).eval()
    images = torch.randn(64, 2, 8, 8)
    network = trace(model, images[:1])
    small = Pruner(model, network, images, reconstruction=name).pruned({"0": 4 if constant else 5})
    assert distance(model, small, images) < 1e-5 * float(model(images).detach().var())
    assert sum(p.numel() for p in small.parameters()) == network.params({**network.original, "0": 4 if constant else 5})


def test_a_layer_too_wide_for_a_gram_matrix_is_listed_and_sliced(
    trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruner_module, "WIDEST", 16 * 9)
    pruner = Pruner(trained, network, digits[0][:50])
    assert set(pruner.not_reconstructed) == {"blocks.0.3", "blocks.1.6", "blocks.2.3"}
    kept = pruner.kept({"blocks.0.0": 8})["blocks.0.0"]
    small = pruner.pruned({"blocks.0.0": 8})
    assert torch.equal(small.blocks[0][3].weight, trained.blocks[0][3].weight[:, kept])


def test_the_norm_behind_a_layer_that_is_only_sliced_takes_new_statistics(
    trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruner_module, "WIDEST", 16 * 9)
    images, unseen = digits[0][:200], digits[0][1400:]
    pruner = Pruner(trained, network, images)
    policy = {"blocks.0.0": 8}
    small = pruner.pruned(policy)
    seen: list[Tensor] = []
    small.blocks[0][4].register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        small(images)
    torch.testing.assert_close(small.blocks[0][4].running_mean, seen[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(small.blocks[0][4].running_var, seen[0].var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert torch.equal(
        small.blocks[0][1].running_var, trained.blocks[0][1].running_var[pruner.kept(policy)["blocks.0.0"]]
    )
    sliced = shrink(trained, network, pruner.kept(policy)).eval()
    assert distance(trained, small, unseen) < 0.5 * distance(trained, sliced, unseen)


def test_a_layer_that_is_called_twice_is_listed() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.twice, self.head = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.twice(F.relu(self.twice(F.relu(self.stem(x)))))))

    images = torch.randn(20, 1, 4, 4)
    model = Twice().eval()
    pruner = Pruner(model, trace(model, images[:1]), images)
    assert pruner.not_reconstructed == {"twice": "it is called more than once"}
    assert pruner.pruned({"stem": 3}, thorough=True)(images).shape == (20, 4, 4, 4)


def test_wrong_use_is_refused(trained: nn.Module, network: Network, digits: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(UsageError, match="calibration images"):
        Pruner(trained, network, digits[0][:0])
    with pytest.raises(UsageError, match="unknown importance"):
        Pruner(trained, network, digits[0][:20], importance="best")
    pruner = Pruner(trained, network, digits[0][:20])
    with pytest.raises(UsageError, match="unknown channel group"):
        pruner.pruned({"blocks.7": 3})
    with pytest.raises(UsageError, match="must stay"):
        pruner.pruned({"blocks.0.0": 0})


class Choosy(nn.Module):
    """Takes another way for bright images than for dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 1)
        self.dark, self.bright = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu()
        y = self.bright(y) if x.mean() > 0.5 else self.dark(y)
        return self.head(y.relu()).mean((2, 3))


def test_a_network_that_chooses_its_way_by_the_images_is_refused_by_the_layers_name() -> None:
    model = Choosy().eval()
    network = trace(model, torch.zeros(1, 1, 8, 8))
    bright, dark = torch.ones(64, 1, 8, 8), torch.zeros(64, 1, 8, 8)
    for images in (bright, torch.cat([dark, bright])):
        with pytest.raises(UnsupportedModelError, match="dark ran when the network was traced"):
            Pruner(model, network, images)


class Windowed(nn.Module):
    """Cuts its map into windows, where one image passes without a copy and several do not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 1), nn.BatchNorm2d(8)
        self.wide, self.narrow, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.stem(x)).permute(0, 2, 3, 1)
        n, h, w, c = y.shape
        z = y.reshape(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)
        z = z.reshape(n, h // 2, w // 2, 2, 2, c).transpose(2, 3).reshape(n, h, w, c)
        return self.head((z + self.narrow(self.wide(z).relu())).mean((1, 2)))


def test_a_network_of_windows_is_reconstructed() -> None:
    torch.manual_seed(0)
    model = Windowed().eval()
    network = trace(model, torch.zeros(1, 1, 8, 8))
    images = torch.randn(32, 1, 8, 8)
    assert find_contexts(model, images[:2])["narrow"].partner is not None
    small = Pruner(model, network, images).pruned({"wide": 8}, thorough=True)
    assert small(images).shape == (32, 4)
    assert (small(images) - model(images)).std() < 0.5 * model(images).std()
