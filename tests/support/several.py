"""Small networks of several inputs and outputs, and inputs for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pair(nn.Module):
    """A picture and four numbers, joined; gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.eyes = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.hand = nn.Sequential(nn.Linear(4, 32), nn.ReLU())
        self.join = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 3)

    def forward(self, picture: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([self.eyes(picture).mean((2, 3)), self.hand(numbers)], 1)
        joined = self.join(seen)
        return self.head(joined), joined.mean(1, keepdim=True)


def pairs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return _uniform((count, 1, 12, 20), draw), _uniform((count, 4), draw)


class Captions(nn.Module):
    """Six words beside a picture; gives a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.read = nn.Sequential(nn.Linear(16, 32), nn.ReLU())
        self.eyes = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU())
        self.join = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
        self.match, self.place = nn.Linear(32, 2), nn.Linear(32, 4)

    def forward(self, words: Tensor, picture: Tensor) -> dict[str, Tensor]:
        joined = self.join(self.read(self.words(words)).mean(1) + self.eyes(picture).mean((2, 3)))
        return {"match": self.match(joined), "place": self.place(joined).sigmoid()}


def captions(count: int, seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 20, (count, 6), generator=draw)
    return {"words": words, "picture": _uniform((count, 3, 12, 12), draw)}


def _uniform(shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Return numbers from -1 to 1: no image has odd ones, which ranges leave out."""
    return 2 * torch.rand(shape, generator=draw) - 1
