"""Pixel and channel shuffles, and embeddings."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from cut_check import Net, check_cuts
from torch import Tensor, nn

from amc_hw.tracing.groups import trace
from amc_hw.tracing.slicing import cut
from amc_hw.tracing.verify import masked


def test_channels_that_share_a_pixel_go_together() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.between(F.pixel_shuffle(net.wide(x), 2)))

    model = Net(forward, wide=nn.Conv2d(3, 32, 3), between=nn.PReLU(8), last=nn.Conv2d(8, 2, 3))
    network = check_cuts(model, torch.randn(2, 3, 6, 6), {"wide": 8})
    assert cut(model, network.groups, {"wide": [0, 7]}).wide.out_channels == 8


def test_a_channel_that_is_laid_apart_is_several_inputs() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(F.pixel_unshuffle(net.first(x), 2))

    model = Net(forward, first=nn.Conv2d(3, 8, 3), last=nn.Conv2d(32, 2, 1))
    check_cuts(model, torch.randn(2, 3, 8, 8), {"first": 8})


def test_shuffled_groups_keep_as_many_channels_each() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 12, 1), nn.ChannelShuffle(3), nn.Conv2d(12, 12, 3, groups=12), nn.Conv2d(12, 2, 1)
    )
    check_cuts(model, torch.randn(2, 3, 6, 6), {"0": 4})


class Words(nn.Module):
    """A text network: an embedding with positions, a convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16, padding_idx=0)
        self.places = nn.Parameter(torch.randn(1, 12, 16))
        self.time = nn.Conv1d(16, 8, 3)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.words(x) + self.places).transpose(1, 2)
        return self.head(F.relu(self.time(x)).mean(2))


def test_embeddings_are_cut_in_their_width() -> None:
    torch.manual_seed(0)
    model, x = Words().eval(), torch.randint(50, (3, 12))
    network = trace(model, x[:1])
    assert network.original == {"words": 16, "time": 8}
    kept = {"words": [0, 3, 4, 9, 15], "time": [1, 2, 6]}
    small: Any = cut(model, network.groups, kept)
    assert small.words.embedding_dim == 5
    torch.testing.assert_close(small(x), masked(model, network.groups, kept)(x), rtol=1e-4, atol=1e-5)
    policy = {name: len(channels) for name, channels in kept.items()}
    assert network.params(policy) == sum(parameter.numel() for parameter in small.parameters())
    assert network.macs(policy) == 10 * 5 * 3 * 3 + 3 * 4
