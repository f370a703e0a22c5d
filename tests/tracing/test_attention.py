"""Attention loses whole heads, or width in all of its heads, whichever way it is written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cut_check import check_cut, random_kept
from torch import Tensor, nn

from amc_hw.tracing.groups import Network, trace
from amc_hw.tracing.slicing import cut
from amc_hw.tracing.verify import masked

EXAMPLE = torch.zeros(1, 3, 8, 8)


class Attention(nn.Module):
    """Four heads of width six for sixteen channels, as timm has it: all numbers are the module's own."""

    def __init__(self, heads: int = 4, width: int = 6) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim, self.scale = heads, width, heads * width, width**-0.5
        self.qkv, self.proj = nn.Linear(16, 3 * heads * width), nn.Linear(heads * width, 16)

    def heads(self, x: Tensor) -> Any:
        split = self.qkv(x).reshape(x.shape[0], x.shape[1], 3, self.num_heads, self.head_dim)
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mix(*self.heads(x))
        return self.proj(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], self.attn_dim))


class Matmul(Attention):
    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ((q * self.scale) @ k.transpose(-1, -2)).softmax(-1) @ v


class Einsum(Attention):
    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("bhnd,bhmd->bhnm", q, k) * self.scale
        return torch.einsum("bhnm,bhmd->bhnd", scores.softmax(-1), v)


class Linear(Attention):
    """Linear attention: sums of products first, without a softmax."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = F.relu(q), F.relu(k), F.pad(v, (0, 1), value=1.0)
        out = q @ (k.transpose(-1, -2) @ v)
        return out[..., :-1] / (out[..., -1:] + 1e-3)


class Biased(Attention):
    """A table of biases for relative positions, as windows have it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, self.num_heads))
        self.register_buffer("index", torch.arange(4)[:, None] - torch.arange(4)[None] + 4)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        bias = self.table[self.index.view(-1)].view(4, 4, -1).permute(2, 0, 1)
        return ((q * self.scale) @ k.transpose(-1, -2) + bias).softmax(-1) @ v


class Normalised(Attention):
    """Norms of queries and keys over the width of a head."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__(heads)
        self.q_norm, self.k_norm = nn.LayerNorm(6), nn.LayerNorm(6)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)


class CrossCovariance(Attention):
    """Attention among the channels of a head; how many there are of them all is taken from the input."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.temperature = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 4, 1).unbind(0)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2) * self.temperature
        return self.proj((scores.softmax(-1) @ v).permute(0, 3, 1, 2).reshape(b, n, c))


class Shared(nn.Module):
    """One head of keys and values for all queries: only widths can go."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.key_dim = 4, 6
        self.q, self.k, self.v, self.proj = nn.Linear(16, 24), nn.Linear(16, 6), nn.Linear(16, 10), nn.Linear(40, 16)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.q(x).reshape(b, n, self.num_heads, self.key_dim).transpose(1, 2) * 0.4
        scores = q @ self.k(x).transpose(-1, -2)[:, None]
        return self.proj((scores.softmax(-1) @ self.v(x)[:, None]).transpose(1, 2).flatten(2))


class Model(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.patches, self.norm, self.attention, self.head = (
            nn.Conv2d(3, 16, 4, 4),
            nn.LayerNorm(16),
            attention,
            nn.Linear(16, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head((x + self.attention(self.norm(x))).mean(1))


def assert_cut_as_masked(model: nn.Module, network: Network, x: Tensor, seed: int) -> None:
    kept = random_kept(network, seed)
    with torch.no_grad():
        check_cut(model, network, kept, x, masked(model, network.groups, kept)(x))


@pytest.mark.parametrize("kind", [Attention, Matmul, Einsum, Linear, Biased, Normalised])
def test_whole_heads_are_removed(kind: Any) -> None:
    torch.manual_seed(0)
    model = Model(kind()).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"patches": 16, "attention.qkv": 4}
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)
    small: Any = cut(model, network.groups, {"attention.qkv": [1, 3]})
    attention = small.attention
    assert (attention.num_heads, attention.head_dim, attention.attn_dim) == (2, 6, 12)
    assert attention.qkv.out_features == 36


def test_heads_go_with_the_stream_where_the_module_takes_their_channels_from_its_input() -> None:
    torch.manual_seed(0)
    model = Model(CrossCovariance()).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"patches": 4}  # of four channels each
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)


def test_heads_lose_width_where_they_cannot_be_removed() -> None:
    torch.manual_seed(0)
    model = Model(Shared()).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"patches": 16, "attention.q": 6, "attention.v": 10}
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)
    small: Any = cut(model, network.groups, {"attention.q": [0, 4, 5]})
    assert (small.attention.num_heads, small.attention.key_dim) == (4, 3)


class ByItsWidth(Attention):
    """Divides by the root of a width that it reads from a shape."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v


class NormalisedShared(Normalised):
    """One norm for queries and keys."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__(heads)
        self.k_norm = nn.LayerNorm(6, bias=False)


class WithBias(Attention):
    """A bias for the queries beside their layer."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__(heads)
        self.q_bias = nn.Parameter(torch.randn(6))

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q + self.q_bias, k, v)


class Interleaved(Attention):
    """Queries, keys and values of each head beside each other."""

    def heads(self, x: Tensor) -> Any:
        split = self.qkv(x).reshape(x.shape[0], x.shape[1], self.num_heads, 3, self.head_dim)
        return split.permute(3, 0, 2, 1, 4).unbind(0)


class Bent(Attention):
    """Its queries are proportional to nothing that could make up for their width."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(F.softplus(q), k, v)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("kind", [Attention, ByItsWidth, Normalised, NormalisedShared, WithBias, Interleaved])
def test_queries_make_up_for_the_width_that_the_scores_are_divided_by(kind: Any, heads: int) -> None:
    torch.manual_seed(0)
    model = Model(kind(heads)).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"patches": 16, "attention.qkv": 6}
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)
    small: Any = cut(model, network.groups, {"attention.qkv": [1, 3, 5]})
    assert (small.attention.num_heads, small.attention.head_dim) == (heads, 3)


def test_a_width_that_scales_the_scores_is_left_alone_where_nothing_makes_up_for_it() -> None:
    network = trace(Model(Bent(1)).eval(), EXAMPLE)
    assert network.original == {"patches": 16}
    assert "computes something else" in network.unprunable["attention.qkv"]


def test_a_width_that_scales_the_scores_is_told_where_its_effect_is_faint_among_others() -> None:
    class Faint(Bent):
        def forward(self, x: Tensor) -> Tensor:
            return 1e-4 * super().forward(x)

    torch.manual_seed(0)
    assert trace(Model(Faint(1)).eval(), EXAMPLE).original == {"patches": 16}


def test_layers_whose_weights_are_used_without_calling_them_are_followed() -> None:
    class Functional(Attention):
        def __init__(self) -> None:
            super().__init__(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            b, n, c = x.shape
            qkv = F.linear(x, self.qkv.weight, self.qkv.bias)
            q, k, v = qkv.reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
            scores = (q * (c // self.num_heads) ** -0.5) @ k.transpose(-1, -2)
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c)
            return F.linear(mixed, self.proj.weight, self.proj.bias)

    torch.manual_seed(0)
    model = Model(Functional()).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"patches": 4}  # heads, of four channels each of the stream
    for seed in range(3):
        assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), seed)


def test_a_number_that_only_happens_to_be_as_many_stays() -> None:
    class Repeated(Attention):
        def __init__(self) -> None:
            super().__init__()
            self.times = 4  # as many as heads

        def forward(self, x: Tensor) -> Tensor:
            heads = self.qkv(x).reshape(x.shape[0], x.shape[1], 3, -1, self.head_dim).permute(2, 0, 3, 1, 4)
            mixed = self.mix(*heads.unbind(0)).transpose(1, 2)
            return self.times * self.proj(mixed.flatten(2))

    torch.manual_seed(0)
    model = Model(Repeated()).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"patches": 16, "attention.qkv": 4}
    small: Any = cut(model, network.groups, {"attention.qkv": [1, 3]})
    assert small.attention.times == 4
    assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), 0)


def test_heads_as_many_as_they_are_wide_are_told_apart_by_the_proof() -> None:
    class Square(Attention):
        def __init__(self) -> None:
            super().__init__(4, 4)

    torch.manual_seed(0)
    model = Model(Square()).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"patches": 16, "attention.qkv": 4}
    small: Any = cut(model, network.groups, {"attention.qkv": [1, 3]})
    assert (small.attention.num_heads, small.attention.head_dim) == (2, 4)
    assert_cut_as_masked(model, network, torch.randn(2, 3, 8, 8), 0)


def test_a_number_that_is_found_in_two_ways_is_cut_once() -> None:
    torch.manual_seed(0)
    network = trace(Model(Attention()).eval(), EXAMPLE)
    numbers = [member.module for group in network.groups for member in group.members if "num_heads" in member.module]
    assert numbers == ["attention.num_heads"]
