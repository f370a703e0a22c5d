"""A pruned network's file that is written without the converter computes what the network does, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_nets import CalledTwice, ChunksAndNeck, NarrowSqueezes, ScaledTokens, learned
from torch import Tensor, nn
from writers import available

pytest.importorskip("litert_torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.check import TOLERANCE, output_difference
from amc_hw.formats.refill import Refill
from amc_hw.formats.registry import FORMATS, Format
from amc_hw.formats.template import lower
from amc_hw.models.mobilenet import MobileNetV2
from amc_hw.models.resnet import resnet
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, policy_of, shrink
from amc_hw.tracing.traced import TracedModel, trace_model

KINDS = [name for name, kind in FORMATS.items() if len(kind.precisions) > 1]
every_format = pytest.mark.parametrize("kind", KINDS, indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Format:
    return available(request.param)


def refill_of(traced: TracedModel, kind: Format) -> Refill:
    template = lower(traced.model, traced.network, traced.example, kind)
    return Refill(template, traced, traced.example, kind.load)


class Gated(nn.Module):
    """The 3 in its hard sigmoid is a part of a bias in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, bias=False), nn.Conv2d(16, 8, 3)
        self.norm, self.squeeze, self.excite = nn.BatchNorm2d(16), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        gate = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu())
        return self.second(x * nn.functional.hardsigmoid(gate)).mean((2, 3))


@every_format
@pytest.mark.parametrize("network", [ChunksAndNeck, NarrowSqueezes, CalledTwice, ScaledTokens, Gated])
def test_a_refilled_file_computes_what_its_network_does(network: type[nn.Module], kind: Format) -> None:
    torch.manual_seed(0)
    traced = trace_model(learned(network()), (3, 32, 32))
    template, random = lower(traced.model, traced.network, traced.example, kind), np.random.default_rng(0)
    refill = Refill(template, traced, traced.example, kind.load)
    for _ in range(3):
        policy = draw_policy(traced.choices, random)
        small = learned(shrink(traced.model, traced.network, first_channels(policy)))
        content = refill(small, policy)
        assert output_difference(small, kind.load(content), torch.randn(2, 3, 32, 32)) <= TOLERANCE
        assert kind.read(content).operators() == template.operators(policy)
    assert kind.read(content).operators() == kind.read(kind.convert(small, traced.example)).operators()


SHORT = {
    "resnet": lambda: resnet(14, 10),
    "mobilenet_v2": lambda: MobileNetV2(10, 3, (16, 8, 48, 16, 96, 16, 96, 24, 144, 24, 64), (1, 1, 1, 1, 2, 1), 0.0),
}


@every_format
@pytest.mark.parametrize("name", SHORT)
def test_blocks_are_left_out_of_a_refilled_file(name: str, kind: Format) -> None:
    torch.manual_seed(0)
    traced = trace_model(learned(SHORT[name]()), (3, 32, 32))
    out = [block.group for block in traced.network.blocks][::2]
    policy = {**traced.network.original, **dict.fromkeys(out, 0)}
    small = shrink(traced.model, traced.network, first_channels(policy))
    assert out
    assert policy_of(traced.model, traced.network, small) == policy
    content = refill_of(traced, kind)(small, policy)
    assert output_difference(small, kind.load(content), torch.randn(2, 3, 32, 32)) <= TOLERANCE
    assert len(kind.read(content).kinds) < len(kind.read(kind.convert(traced.model, traced.example)).kinds)


@pytest.mark.parametrize("network", [ChunksAndNeck, NarrowSqueezes, CalledTwice, ScaledTokens])
def test_a_policy_is_known_from_the_network_that_it_made(network: type[nn.Module]) -> None:
    traced = trace_model(network().eval(), (3, 32, 32))
    for seed in range(3):
        policy = draw_policy(traced.choices, np.random.default_rng(seed))
        small = shrink(traced.model, traced.network, first_channels(policy))
        assert policy_of(traced.model, traced.network, small) == policy


class Raised(nn.Module):
    """Its file has a weight that it has not: e to the power of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)
        self.gain = nn.Parameter(torch.linspace(0, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).mean((2, 3)) * self.gain.exp()


@every_format
def test_a_file_with_a_weight_of_its_own_is_refused(kind: Format) -> None:
    traced = trace_model(learned(Raised()), (3, 16, 16))
    if kind.name in ("pte", "aten"):  # which raise to the power while they run, so that their weights are the network's
        policy = draw_policy(traced.choices, np.random.default_rng(0))
        small = shrink(traced.model, traced.network, first_channels(policy))
        content = refill_of(traced, kind)(small, policy)
        assert output_difference(small, kind.load(content), torch.randn(2, 3, 16, 16)) <= TOLERANCE
        return
    with pytest.raises(UnsupportedModelError, match="is in the file only"):
        refill_of(traced, kind)


@every_format
def test_a_file_of_another_network_is_refused(kind: Format) -> None:
    traced = trace_model(learned(ChunksAndNeck()), (3, 32, 32))
    refill, policy = refill_of(traced, kind), draw_policy(traced.choices, np.random.default_rng(0))
    small = shrink(traced.model, traced.network, first_channels(policy))

    def halved(module: nn.Module, _: object, output: Tensor) -> Tensor:
        return output / 2

    small.register_forward_hook(halved)
    with pytest.raises(UnsupportedModelError, match="cannot be written without the converter"):
        refill(small, policy)
