"""Networks of norms and attention are reconstructed like all others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.pruning.contexts import OperatorCounter, find_contexts
from amc_hw.pruning.pruner import Pruner
from amc_hw.pruning.surgery import first_channels, shrink, widened
from amc_hw.tracing.groups import trace


class Transformer(nn.Module):
    def __init__(self, heads: int = 8) -> None:
        super().__init__()
        self.num_heads, self.patches = heads, nn.Conv2d(1, 32, 4, 4)
        self.norm, self.qkv, self.proj = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.norm2, self.up, self.down, self.head = (
            nn.LayerNorm(32),
            nn.Linear(32, 64),
            nn.Linear(64, 32),
            nn.Linear(32, 7),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        b, n, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return self.head((x + self.down(self.up(self.norm2(x)).relu())).mean(1))


@pytest.mark.parametrize(("group", "heads"), [("patches", 8), ("qkv", 8), ("up", 8), ("patches", 2), ("qkv", 2)])
def test_what_reads_pruned_channels_or_heads_is_refitted(group: str, heads: int) -> None:
    torch.manual_seed(0)
    model = Transformer(heads).eval()
    network = trace(model, torch.zeros(1, 1, 16, 16))
    assert network.original == {"patches": 32, "qkv": 8 if heads == 8 else 16, "up": 64}
    # Images of few patterns: a network that is trained has such redundancy inside.
    images = (torch.randn(256, 6) @ torch.randn(6, 256)).view(256, 1, 16, 16)
    policy = {**network.original, group: network.original[group] // 2}
    distances = {}
    for how in ("none", "residual"):
        pruner = Pruner(model, network, images[:192], reconstruction=how)
        assert not pruner.not_reconstructed
        with torch.no_grad():
            distances[how] = (pruner.pruned(policy)(images[192:]) - model(images[192:])).square().mean()
    assert distances["residual"] < 0.5 * distances["none"]


def test_queries_are_refitted_as_large_as_their_width_asks() -> None:
    """Where only queries lose inputs that say nothing new, nothing is lost."""
    torch.manual_seed(0)
    model = Transformer(2).eval()
    network = trace(model, torch.zeros(1, 1, 16, 16))
    images = torch.randn(256, 1, 16, 16)
    with torch.no_grad():
        qkv = model.qkv.weight.view(3, 2, 16, 32)
        qkv[:2, :, 8:] = 0  # of queries and keys
        qkv[2, :, 8:] = qkv[2, :, :8]  # of values
        model.qkv.bias.view(3, 2, 16)[:2, :, 8:] = 0
        model.qkv.bias.view(3, 2, 16)[2, :, 8:] = model.qkv.bias.view(3, 2, 16)[2, :, :8]
        expected = model(images)
        for how in ("original", "sequential", "residual"):
            pruner = Pruner(model, network, images, reconstruction=how, importance="magnitude")
            kept = {name: list(range(count)) for name, count in {**network.original, "qkv": 8}.items()}
            pruner.kept = lambda policy, kept=kept: kept
            pruned = pruner.pruned({**network.original, "qkv": 8}, thorough=True)
            torch.testing.assert_close(pruned(images), expected, rtol=1e-3, atol=1e-3)


def test_the_other_side_of_a_sum_is_found_where_one_head_is_left_and_its_reshape_copies_nothing() -> None:
    torch.manual_seed(0)
    model, images = Transformer().eval(), torch.randn(2, 1, 16, 16)
    network = trace(model, images[:1])
    small = shrink(model, network, first_channels({**network.original, "qkv": 1}))
    partner = find_contexts(model, images)["down"].partner
    sums: list[Tensor] = []
    small.get_submodule("norm2").register_forward_pre_hook(lambda _, args: sums.append(args[0]))
    with torch.no_grad(), OperatorCounter([partner]) as counter:
        small(images)
    assert partner is not None
    torch.testing.assert_close(counter.results[partner], sums[0])


@pytest.mark.parametrize("heads", [8, 2])
def test_zeros_in_place_of_channels_are_not_nothing_to_a_norm(heads: int) -> None:
    torch.manual_seed(0)
    model, image = Transformer(heads).eval(), torch.zeros(1, 1, 16, 16)
    network = trace(model, image)
    for group, same in (("qkv", True), ("up", True), ("patches", False)):
        kept = first_channels({**network.original, group: network.original[group] // 2})
        small = shrink(model, network, kept)
        if same:
            widened(model, network, kept, small, image)
        else:
            with pytest.raises(UnsupportedModelError, match="one round"):
                widened(model, network, kept, small, image)
