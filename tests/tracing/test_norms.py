"""Channels are followed through normalisation, which takes its statistics over the channels that are left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.groups import Network, trace
from amc_hw.tracing.slicing import cut
from amc_hw.tracing.verify import masked

EXAMPLE = torch.zeros(1, 3, 8, 8)


def assert_cut_as_masked(model: nn.Module, network: Network, x: Tensor, seed: int) -> None:
    """A cut network computes what the masked one does, at the predicted cost."""
    rng = np.random.default_rng(seed)
    kept = {
        name: sorted(rng.permutation(channels)[: int(rng.integers(1, channels + 1))].tolist())
        for name, channels in network.original.items()
    }
    small = cut(model, network.groups, kept)
    policy = {name: len(channels) for name, channels in kept.items()}
    with torch.no_grad():
        torch.testing.assert_close(small(x), masked(model, network.groups, kept)(x), rtol=1e-4, atol=1e-5)
        with attention_by_parts(), FlopCounterMode(display=False) as counter:
            small(x[:1])
    assert network.macs(policy) == counter.get_total_flops() // 2
    assert network.params(policy) == sum(p.numel() for p in small.parameters())


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ByHand(nn.Module):
    """ConvNeXt's own, with plain means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(channels)), nn.Parameter(torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class UnitLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1)


class ChannelsLast(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def around(norm: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        norm,
        nn.Conv2d(16, 12, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    ).eval()
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return model


NORMS: list[tuple[Any, int]] = [
    (lambda: ChannelsLast(nn.LayerNorm(16)), 16),
    (lambda: ChannelsLast(nn.RMSNorm(16)), 16),
    (lambda: LayerNorm2d(16), 16),
    (lambda: nn.LayerNorm((16, 6, 6)), 16),
    (lambda: nn.GroupNorm(1, 16), 16),
    (lambda: nn.GroupNorm(4, 16), 4),  # of each group one
    (lambda: nn.GroupNorm(16, 16), 16),
    (lambda: nn.InstanceNorm2d(16, affine=True), 16),
    (lambda: nn.InstanceNorm2d(16), 16),
    (lambda: ByHand(16), 16),
    (UnitLength, 16),
]


@pytest.mark.parametrize(("norm", "channels"), NORMS)
def test_channels_go_through_norms(norm: Any, channels: int) -> None:
    model = around(norm())
    network = trace(model, EXAMPLE)
    assert network.original == {"0": channels, "2": 12}
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)


def test_a_masked_norm_takes_its_statistics_over_what_is_kept() -> None:
    model = around(ChannelsLast(nn.LayerNorm(16)))
    network, x, kept = trace(model, EXAMPLE), torch.randn(2, 3, 8, 8), [1, 4, 5, 11]
    norm: Any = model[1]
    with torch.no_grad():
        seen = model[0](x).permute(0, 2, 3, 1)[..., kept]
        normed = F.layer_norm(seen, (4,), norm.norm.weight[kept], norm.norm.bias[kept]).permute(0, 3, 1, 2)
        wanted = model[3:](F.conv2d(normed, model[2].weight[:, kept], model[2].bias))
        have = masked(model, network.groups, {"0": kept, "2": range(12)})(x)
    torch.testing.assert_close(have, wanted)


def test_what_modules_call_their_sizes_follows() -> None:
    for norm, names in (
        (LayerNorm2d(16), {"normalized_shape": (4,)}),
        (nn.LayerNorm((16, 6, 6)), {"normalized_shape": (4, 6, 6)}),
        (nn.GroupNorm(4, 16), {"num_channels": 4, "num_groups": 4}),
        (nn.InstanceNorm2d(16, affine=True), {"num_features": 4}),
    ):
        model = around(norm)
        network = trace(model, EXAMPLE)
        keep = 4 * network.original["0"] // 16
        small: Any = cut(model, network.groups, {"0": range(keep)})
        assert {name: getattr(small[1], name) for name in names} == names


def test_a_residual_stream_of_norms_tables_and_tokens_is_one_group() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 4, 4)
            self.token, self.table = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 5, 16))
            self.norms = nn.ModuleList([nn.LayerNorm(16) for _ in range(3)])
            self.ups = nn.ModuleList([nn.Linear(16, 24) for _ in range(2)])
            self.downs = nn.ModuleList([nn.Linear(24, 16) for _ in range(2)])
            self.head = nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.table
            for norm, up, down in zip(self.norms, self.ups, self.downs, strict=False):
                x = x + down(F.gelu(up(norm(x))))
            return self.head(self.norms[-1](x)[:, 0])

    torch.manual_seed(0)
    model = Tokens().eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"patches": 16, "ups.0": 24, "ups.1": 24}
    assert set(network.unprunable) == {"head"}
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)


def test_softmax_over_branches_is_no_matter_and_over_channels_is() -> None:
    class Branches(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.dim = dim
            self.one, self.two, self.weigh = nn.Conv2d(3, 12, 1), nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 24, 1)
            self.head = nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.stack([self.one(x), self.two(x)], 1)
            weights = self.weigh(x.sum(1).mean((2, 3), keepdim=True)).view(len(x), 2, -1, 1, 1)
            return self.head((x * weights.softmax(self.dim)).sum(1).mean((2, 3)))

    torch.manual_seed(0)
    model = Branches(1).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"one": 12}
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)
    over_channels = trace(Branches(2).eval(), EXAMPLE)
    assert not over_channels.groups
    assert "softmax over its channels" in over_channels.unprunable["one"]


@pytest.mark.parametrize(
    "largest",
    [
        lambda x: x.flatten(2).max(-1)[0],
        lambda x: torch.min(x, dim=-1, keepdim=True).values.mean((2, 3)),
        lambda x: x.max(-1)[0].amax(-1) + x.flatten(2).argmax(-1) / 64,
    ],
)
def test_the_largest_of_all_positions_is_no_matter_and_of_channels_is(largest: Any) -> None:
    class Pooled(nn.Module):
        def __init__(self, over_channels: bool) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 16, 3), nn.Linear(16, 4)
            self.over_channels = over_channels

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.head(largest(self.second(x / x.max(1, keepdim=True)[0].exp() if self.over_channels else x)))

    torch.manual_seed(0)
    model = Pooled(False).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"first": 12, "second": 16}
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)
    over_channels = trace(Pooled(True).eval(), EXAMPLE)
    assert over_channels.original == {"second": 16}
    assert "reduces over its channels" in over_channels.unprunable["first"]
