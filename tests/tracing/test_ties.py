"""Channel groups that can only shrink together, and counts that a network takes from what enters it."""

from __future__ import annotations

from typing import Any

import torch
from cut_check import Net, check_cuts
from torch import Tensor, nn

from amc_hw.tracing.groups import trace
from amc_hw.tracing.slicing import cut
from amc_hw.tracing.verify import masked

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_two_layers_whose_results_are_cut_in_halves_keep_as_many_channels() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        one, other = torch.cat([net.one(x), net.other(x)], 1).chunk(2, 1)
        return net.last(net.behind_one(one) + net.behind_other(other))

    parts = {name: nn.Conv2d(3, 12, 1) for name in ("one", "other")}
    parts |= {f"behind_{name}": nn.Conv2d(12, 8, 1) for name in ("one", "other")}
    network = check_cuts(Net(forward, **parts, last=nn.Conv2d(8, 2, 1)), IMAGES, {"one": 12, "behind_one": 8})
    assert {member.module for member in network.groups[0].members} == {"one", "other", "behind_one", "behind_other"}


def test_a_layer_twice_as_wide_loses_twice_as_many_channels() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        first, *others = torch.cat([net.narrow(x), net.wide(x)], 1).chunk(3, 1)
        return net.last(torch.cat([net.behind(first), net.behind_wide(torch.cat(others, 1))], 1))

    model = Net(
        forward,
        narrow=nn.Conv2d(3, 6, 1),
        wide=nn.Conv2d(3, 12, 1),
        behind=nn.Conv2d(6, 4, 1),
        behind_wide=nn.Conv2d(12, 4, 1),
        last=nn.Conv2d(8, 2, 1),
    )
    network = check_cuts(model, IMAGES)
    assert network.original["narrow"] == 6
    small = cut(model, network.groups, {"narrow": [0, 1, 4, 5]})
    assert (small.narrow.out_channels, small.wide.out_channels) == (4, 8)


def test_layers_that_only_happen_to_be_as_wide_shrink_on_their_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    check_cuts(model, IMAGES, {"0": 8, "2": 8})


class Reduced(nn.Module):
    """Attention whose keys come of a smaller map, all sizes from its input, as in MiT (SegFormer)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.smaller, self.norm = nn.Conv2d(width, width, 2, 2), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        images, tokens, width = x.shape
        q = self.q(x).reshape(images, tokens, self.heads, width // self.heads).permute(0, 2, 1, 3)
        side = int(tokens**0.5)
        small = self.smaller(x.permute(0, 2, 1).reshape(images, width, side, side)).reshape(images, width, -1)
        kv = self.kv(self.norm(small.permute(0, 2, 1)))
        k, v = kv.reshape(images, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1)) * 0.4
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(images, tokens, width))


class Talking(nn.Module):
    """Attention whose heads are mixed, as in CaiT: they stay, and lose width with the channels that enter."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.talk = nn.Linear(heads, heads)

    def forward(self, x: Tensor) -> Tensor:
        images, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(images, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = self.talk((q @ k.transpose(-2, -1) * 0.4).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(images, tokens, width))


class Plain(nn.Module):
    """Attention that takes the width of its heads from its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        images, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(images, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * 0.4
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(images, tokens, width))


class Stream(nn.Module):
    """Residual attention on the pixels of a map."""

    def __init__(self, *attentions: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.attentions = nn.ModuleList(attentions)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in attentions)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        for norm, attention in zip(self.norms, self.attentions, strict=True):
            x = x + attention(norm(x))
        return self.head(x.mean(1))


def check_half(model: nn.Module, groups: set[str]) -> None:
    """Hold half of every group against the masked network, and its costs against the prediction."""
    network = trace(model.eval(), IMAGES[:1])
    assert set(network.original) == groups
    kept = {name: list(range(0, channels, 2)) for name, channels in network.original.items()}
    small = cut(model, network.groups, kept)
    with torch.no_grad():
        wanted = masked(model, network.groups, kept)(IMAGES)
        torch.testing.assert_close(small(IMAGES), wanted, rtol=1e-4, atol=1e-5)
    counts = {name: len(channels) for name, channels in kept.items()}
    assert network.params(counts) == sum(parameter.numel() for parameter in small.parameters())
    assert network.macs(counts) < 0.5 * network.macs(network.original)


def test_heads_and_reduced_maps_lose_the_share_that_their_input_loses() -> None:
    torch.manual_seed(0)
    check_half(Stream(Reduced(16, 1), Reduced(16, 2)), {"stem"})


def test_two_kinds_of_attention_on_the_same_channels_shrink_together() -> None:
    torch.manual_seed(0)
    check_half(Stream(Talking(16, 4), Plain(16, 2)), {"stem"})


class Pooled(nn.Module):
    """A depthwise convolution over the map of every head, the heads in the batch, as in MViTv2."""

    def __init__(self, heads: int = 4, width: int = 6) -> None:
        super().__init__()
        self.heads, self.wide = heads, nn.Conv2d(3, heads * width, 1)
        self.pool = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.last = nn.Conv2d(heads * width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        images, _, height, side = x.shape
        heads = self.pool(self.wide(x).reshape(images * self.heads, -1, height, side))
        return self.last(heads.reshape(images, -1, height, side))


def test_a_layer_that_runs_once_for_every_head_is_counted_so_often() -> None:
    check_cuts(Pooled(), IMAGES, {"wide": 6})


class Patches(nn.Module):
    """Attention-free MobileViT: pixels are rearranged into patches, and back, with channels in the middle."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 1), nn.LayerNorm(width)
        self.mix, self.last = nn.Linear(width, width, bias=False), nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        images, width, height, side = x.shape
        x = x.reshape(images * width * (height // 2), 2, side // 2, 2).transpose(1, 2)
        x = x.reshape(images, width, -1, 4).transpose(1, 3)  # (images, in a patch, patches, channels)
        x = self.norm(self.mix(x.reshape(images * 4, -1, width)))
        width = x.shape[-1]
        x = x.contiguous().view(images, 4, -1, width).transpose(1, 3)
        x = x.reshape(images * width * (height // 2), side // 2, 2, 2).transpose(1, 2)
        return self.last(x.reshape(images, width, height, side))


def test_channels_go_on_through_a_map_that_is_taken_apart() -> None:
    torch.manual_seed(0)
    check_half(Patches(), {"stem", "mix"})


def test_parts_of_a_map_with_norms_of_their_own_go_with_their_channel() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.first(x)
        images, channels, height, width = x.shape
        x = net.norm(x.view(images, channels * 4, height // 4, width))
        return net.last(x.view(images, channels, height, width))

    model = Net(forward, first=nn.Conv2d(3, 8, 1), norm=nn.BatchNorm2d(32), last=nn.Conv2d(8, 2, 1))
    for value in (model.norm.running_mean, model.norm.weight, model.norm.bias):
        value.data.uniform_(0.5, 1.5)
    network = check_cuts(model, IMAGES, {"first": 8})
    assert cut(model, network.groups, {"first": [1, 5]}).norm.num_features == 8


class Crossed(nn.Module):
    """Two streams of tokens that lend each other their class token, as in CrossViT."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 12, 1), nn.Conv2d(3, 16, 1)
        self.there, self.between, self.back = nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 12)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        one, other = (layer(x).flatten(2).transpose(1, 2) for layer in (self.one, self.other))
        lent = torch.cat([self.there(one[:, :1]), other[:, 1:]], 1)
        lent = lent[:, :1] + self.between(lent)
        return self.head(torch.cat([self.back(lent[:, :1]), one[:, 1:]], 1).mean(1))


def test_tokens_of_two_layers_in_one_row_have_the_same_channels() -> None:
    torch.manual_seed(0)
    check_half(Crossed(), {"one", "other"})
