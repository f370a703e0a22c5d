"""A tiny segmentation network with a metric and a training of its own, on discs that are drawn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw import OwnTask

HEIGHT, WIDTH = 16, 24


class TinyUNet(nn.Module):
    """Down, up, and a shortcut; gives two scores for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.join = nn.Sequential(nn.Conv2d(48, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        wide = self.wide(images)
        deep = F.interpolate(self.deep(wide), scale_factor=2.0)
        return {"masks": self.head(self.join(torch.cat([wide, deep], 1)))}


def discs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 16, 24) of a disc in noise, and its pixels (N, 16, 24)."""
    draw = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    place = torch.rand(3, count, 1, 1, generator=draw)
    away = ((y - HEIGHT * place[0]) ** 2 + (x - WIDTH * place[1]) ** 2).sqrt()
    masks = (away < 2 + 5 * place[2]).long()
    return (masks + 0.7 * torch.randn(masks.shape, generator=draw))[:, None], masks


def mean_iou(model: nn.Module, images: Tensor, masks: Tensor) -> float:
    """Return the mean IoU of disc and background."""
    found = model(images)["masks"].argmax(1)
    kinds = [((found == kind) & (masks == kind)).sum() / ((found == kind) | (masks == kind)).sum() for kind in (0, 1)]
    return float(torch.stack(kinds).mean())


def learn(model: nn.Module, images: Tensor, masks: Tensor, lr: float) -> float:
    """Train for one epoch; return the mean loss."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    losses = []
    for index in torch.randperm(len(images)).split(16):
        loss = F.cross_entropy(model(images[index])["masks"], masks[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


def task() -> OwnTask:
    """Finding discs, with the data that belongs to it."""
    images, masks = discs(192, 0)
    validation, test = discs(96, 1), discs(96, 2)
    return OwnTask(
        score=lambda model: mean_iou(model, *validation),
        train=lambda model, teacher, epoch, epochs: learn(model, images, masks, 3e-3),
        test=lambda model: mean_iou(model, *test),
        metric="mean IoU",
        inputs=images,
    )


def network() -> TinyUNet:
    """Build the network, untrained, as a file of the command line does it."""
    return TinyUNet()


def trained() -> TinyUNet:
    """Return the network after some epochs."""
    torch.manual_seed(0)
    model, images, masks = TinyUNet(), *discs(192, 0)
    for _ in range(6):
        learn(model, images, masks, 1e-2)
    return model.eval()
