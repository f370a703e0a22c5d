"""Compress a keyword spotter, a DS-CNN on 49x10 maps, in the precision that the device likes best.

    python examples/keywords.py [--latency 0.4x] [--device host] [--episodes 20] [--out runs/keywords] [--quick]

The network is the small DS-CNN of Zhang et al. (arXiv:1711.07128, section 3.4); nothing is downloaded. Its words are
drawn: three formants that glide through a map of ten bands in 49 frames, in noise. The loss of the fine-tuning is half
the teacher's. For a spotter of yours, replace `draw` by your features and keep the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw import OwnTask, compress, load_checkpoint, save_checkpoint

FRAMES, BANDS, WORDS = 49, 10, 12


class DSCNN(nn.Module):
    """A convolution over ten frames and four bands, four depthwise separable ones, and a linear layer."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        first = nn.Conv2d(1, width, (10, 4), stride=(2, 2), padding=(5, 1), bias=False)
        layers: list[nn.Module] = [first, nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(4):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            layers += [nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, WORDS)

    def forward(self, maps: Tensor) -> Tensor:
        """Return scores (N, words) of maps (N, 1, frames, bands)."""
        return self.classifier(self.features(maps).mean((2, 3)))


class Words(NamedTuple):
    """Maps (N, 1, frames, bands) and the word of each (N,)."""

    maps: Tensor
    words: Tensor


def draw(count: int, seed: int) -> Words:
    """Draw words, each of which is the same three glides, at another time and speed in every map."""
    paths = 9 * torch.rand(WORDS, 3, 4, generator=torch.Generator().manual_seed(0))  # bands at four moments
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(WORDS, (count,), generator=random)
    length, start = 24 + 20 * torch.rand(count, 1, generator=random), 10 * torch.rand(count, 1, generator=random)
    moment = (torch.arange(FRAMES) - start) / length  # 0..1 while the word lasts
    place = (3 * moment.clamp(0, 1))[:, None].expand(-1, 3, -1)
    before = place.long().clamp(max=2)
    glides = paths[words]
    band = torch.lerp(glides.gather(2, before), glides.gather(2, before + 1), place - before)
    loud = torch.exp(-((band[..., None] - torch.arange(BANDS)) ** 2)).sum(1) * ((moment > 0) & (moment < 1))[..., None]
    return Words((loud + 0.5 * torch.randn(loud.shape, generator=random))[:, None], words)


def accuracy(model: nn.Module, words: Words) -> float:
    """Return the share of words that are told."""
    found = torch.cat([model(maps).argmax(1) for maps in words.maps.split(200)])
    return float((found == words.words).double().mean())


def train_epoch(model: nn.Module, teacher: nn.Module | None, words: Words, lr: float) -> float:
    """Learn all words once, and where there is a teacher its scores as much; return the mean loss."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    total = 0.0
    for index in torch.randperm(len(words.maps)).split(32):
        scores = model(words.maps[index])
        loss = F.cross_entropy(scores, words.words[index])
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(words.maps[index]).softmax(1)
            loss = (loss + F.cross_entropy(scores, wanted)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += len(index) * float(loss.detach())
    return total / len(words.maps)


def main(words: Sequence[str] | None = None) -> None:
    """Train a spotter if there is none yet, compress it, and say what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", default="0.4x", help="share of the original's latency in fp32, or milliseconds")
    parser.add_argument("--device", default="host", help="where it must hold")
    parser.add_argument("--episodes", type=int, default=20, help="policies that the search scores")
    parser.add_argument("--out", type=Path, default=Path("runs/keywords"), help="folder for weights and run")
    parser.add_argument("--quick", action="store_true", help="a glimpse, on few words and for few epochs")
    arguments = parser.parse_args(words)
    count, epochs, tuning = (480, 8, 1) if arguments.quick else (2400, 10, 5)
    training, validation, test = (draw(size, seed) for seed, size in enumerate((count, count // 4, count // 2), 1))

    torch.manual_seed(0)
    model, weights = DSCNN(), arguments.out / "dscnn.pt"
    if weights.exists():
        load_checkpoint(model, weights)
    else:
        for epoch in range(epochs):
            train_epoch(model, None, training, 3e-3 * (1 - epoch / epochs))
        save_checkpoint(model, weights)

    task = OwnTask(
        metric="accuracy of words",
        score=lambda network: accuracy(network, validation),
        train=lambda network, teacher, epoch, epochs: train_epoch(
            network, teacher, training, 1e-3 * (1 - epoch / epochs)
        ),
        test=lambda network: accuracy(network, test),
    )
    result = compress(
        model,
        training.maps,
        task=task,
        latency=arguments.latency,
        device=arguments.device,
        episodes=arguments.episodes,
        epochs=tuning,
        run=arguments.out / "run",
    )
    for name in ("original", "compressed"):
        figures = result.summary[name]
        print(f"{name:10}  {figures['accuracy']:6.2%} of words  {figures['latency_ms']:.4f} ms  {figures['macs']} MACs")
    print(f"{result.summary['precision']} ships; report: {result.run / 'report.html'}")


if __name__ == "__main__":
    main()
