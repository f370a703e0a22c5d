"""Compress a segmentation network to a share of its latency: a network, a metric and a training of one's own.

    python examples/segmentation.py [--latency 0.6x] [--device host] [--episodes 20] [--out runs/segmentation] [--quick]

The network is a small U-Net; nothing is downloaded. It learns to find discs and boxes in noise, pixel by pixel, is
searched, pruned, fine-tuned by the training below and proved on the device by its mean IoU. For a network of yours,
keep `main` and replace the rest: the network, `draw`, `mean_iou` and `train_epoch`.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw import OwnTask, compress, load_checkpoint, save_checkpoint

HEIGHT, WIDTH, CLASSES = 48, 64, 3  # of an image; background, disc, box


class UNet(nn.Module):
    """Three scales; every scale on the way up sees the one of the same size on the way down."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.down = nn.ModuleList(convolutions(*pair) for pair in itertools.pairwise((3, *widths)))
        pairs = list(itertools.pairwise(widths))
        self.up = nn.ModuleList(convolutions(fine + coarse, fine) for fine, coarse in reversed(pairs))
        self.head = nn.Conv2d(widths[0], CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (N, classes, height, width) of images (N, 3, height, width)."""
        seen = [self.down[0](images)]
        for block in self.down[1:]:
            seen.append(block(F.max_pool2d(seen[-1], 2)))
        maps = seen.pop()
        for block in self.up:
            maps = block(torch.cat([seen.pop(), F.interpolate(maps, scale_factor=2.0)], 1))
        return self.head(maps)


def convolutions(channels_in: int, channels: int) -> nn.Sequential:
    """Return two 3x3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for count in (channels_in, channels):
        layers += [nn.Conv2d(count, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


class Scenes(NamedTuple):
    """Images (N, 3, height, width) and the class of every pixel (N, height, width)."""

    images: Tensor
    classes: Tensor


def draw(count: int, seed: int) -> Scenes:
    """Draw a disc and a box of any colour on noise; where they overlap, the box is in front."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")

    def anywhere(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, generator=random)

    disc = (y - anywhere(8, 40)) ** 2 + (x - anywhere(8, 56)) ** 2 < anywhere(4, 10) ** 2
    box = ((y - anywhere(8, 40)).abs() < anywhere(3, 9)) & ((x - anywhere(8, 56)).abs() < anywhere(3, 9))
    classes = torch.where(box, 2, disc.long())
    colours = torch.randn(count, CLASSES, 3, generator=random)
    images = torch.stack([scene[pixels] for scene, pixels in zip(colours, classes, strict=True)]).permute(0, 3, 1, 2)
    return Scenes(images + 0.3 * torch.randn(images.shape, generator=random), classes)


def mean_iou(model: nn.Module, scenes: Scenes) -> float:
    """Return the intersection of found and true pixels by their union, the mean of all classes."""
    found = torch.cat([model(images).argmax(1) for images in scenes.images.split(50)])
    ious = []
    for kind in range(CLASSES):
        mine, true = found == kind, scenes.classes == kind
        ious.append((mine & true).sum() / (mine | true).sum())
    return float(torch.stack(ious).mean())


def train_epoch(model: nn.Module, scenes: Scenes, lr: float, epoch: int, epochs: int) -> float:
    """Train once on all scenes, with a rate that falls from epoch to epoch; return the mean loss."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr * (1 - epoch / epochs))
    total = 0.0
    for index in torch.randperm(len(scenes.images)).split(16):
        loss = F.cross_entropy(model(scenes.images[index]), scenes.classes[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += len(index) * float(loss.detach())
    return total / len(scenes.images)


def main(words: Sequence[str] | None = None) -> None:
    """Train a network if there is none yet, compress it, and say what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", default="0.6x", help="share of the original's latency, or milliseconds")
    parser.add_argument("--device", default="host", help="where it must hold")
    parser.add_argument("--episodes", type=int, default=20, help="policies that the search scores")
    parser.add_argument("--out", type=Path, default=Path("runs/segmentation"), help="folder for weights and run")
    parser.add_argument("--quick", action="store_true", help="a glimpse, on few images and for few epochs")
    arguments = parser.parse_args(words)
    images, epochs, tuning = (96, 2, 1) if arguments.quick else (480, 10, 4)
    training, validation, test = (draw(count, seed) for seed, count in enumerate((images, images // 4, images // 2)))

    torch.manual_seed(0)
    model, weights = UNet(), arguments.out / "unet.pt"
    if weights.exists():
        load_checkpoint(model, weights)
    else:
        for epoch in range(epochs):
            train_epoch(model, training, 3e-3, epoch, epochs)
        save_checkpoint(model, weights)

    task = OwnTask(
        metric="mean IoU",
        score=lambda network: mean_iou(network, validation),
        train=lambda network, teacher, epoch, epochs: train_epoch(network, training, 2e-3, epoch, epochs),
        test=lambda network: mean_iou(network, test),
    )
    result = compress(
        model,
        training.images,
        task=task,
        latency=arguments.latency,
        device=arguments.device,
        precision="fp32",
        episodes=arguments.episodes,
        epochs=tuning,
        run=arguments.out / "run",
    )
    for name in ("original", "compressed"):
        figures = result.summary[name]
        print(f"{name:10}  mean IoU {figures['accuracy']:6.2%}  {figures['latency_ms']:.3f} ms  {figures['macs']} MACs")
    print(f"report: {result.run / 'report.html'}")


if __name__ == "__main__":
    main()
