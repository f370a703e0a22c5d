"""Compress a network that tells people apart whom it has never seen: face embeddings, learned by metric.

    python examples/embedding.py [--latency 0.4x] [--device host] [--episodes 20] [--out runs/embedding] [--quick]

The network is small and like MobileFaceNet (Chen et al., arXiv:1804.07573): separable convolutions, a depthwise one
over the whole map, and an embedding of length 1. It learns as a prototypical network does (Snell et al.,
arXiv:1703.05175): every face belongs to that person whose mean embedding is closest, and there are no classes to
outlive the training. Faces are drawn; nothing is downloaded. Validation and test are other people, of whom a face is
right if the most similar one of all others is of the same person. For faces, voices or products of yours, replace
`draw`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amc_hw import OwnTask, compress, load_checkpoint, save_checkpoint

SIDE, LENGTH, SHARPNESS = 32, 64, 16.0
PEOPLE, FACES = 32, 4
"""Of a batch: people, and faces of each."""


class FaceNet(nn.Module):
    """Embeddings (N, 64) of length 1 of images (N, 1, 32, 32)."""

    def __init__(self, widths: Sequence[int] = (32, 64, 64, 128, 128)) -> None:
        super().__init__()
        first = nn.Conv2d(1, widths[0], 3, stride=2, padding=1, bias=False)
        layers: list[nn.Module] = [first, nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            depthwise = nn.Conv2d(inputs, inputs, 3, stride=1 + number % 2, padding=1, groups=inputs, bias=False)
            layers += [depthwise, nn.BatchNorm2d(inputs), nn.ReLU()]
            layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.whole_map = nn.Conv2d(widths[-1], widths[-1], SIDE // 8, groups=widths[-1], bias=False)
        self.embedding = nn.Linear(widths[-1], LENGTH)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings of images."""
        return F.normalize(self.embedding(self.whole_map(self.features(images)).flatten(1)))


class Faces(NamedTuple):
    """Images (people, faces of each, 1, 32, 32)."""

    images: Tensor

    @property
    def together(self) -> Tensor:
        """The images of all people, one after another: (N, 1, 32, 32)."""
        return self.images.flatten(0, 1)


def draw(people: int, seed: int, faces: int = FACES) -> Faces:
    """Draw people, each of whom turns, moves, talks and stands in another light in every image."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, 1, 1, generator=random)

    def of_person(low: float, high: float) -> Tensor:
        return uniform(low, high, people, 1)

    def of_image(low: float, high: float) -> Tensor:
        return uniform(low, high, people, faces)

    down, right = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    turned, size = of_image(-0.25, 0.25), of_image(0.9, 1.15)
    x = (right * turned.cos() + down * turned.sin()) * size + of_image(-0.15, 0.15)
    y = (down * turned.cos() - right * turned.sin()) * size + of_image(-0.15, 0.15)

    def ellipse(along: Tensor, across: Tensor, width: Tensor, height: Tensor) -> Tensor:
        return torch.sigmoid(6 * (1 - (along / width) ** 2 - (across / height) ** 2))

    head = ellipse(x, y, of_person(0.5, 0.75), of_person(0.7, 0.9))
    picture = of_person(0.5, 0.9) * head
    eyes, slant = of_person(0.18, 0.34), of_person(-0.3, 0.3)
    above, large, pupils = of_person(0.1, 0.35), of_person(0.08, 0.15), of_person(0.06, 0.12)
    brows, mouth, talking = of_person(0.14, 0.28), of_person(0.04, 0.1), of_image(0.0, 0.06)
    aside = x.abs() - eyes
    picture = picture - 0.45 * ellipse(aside, y + above + slant * aside, large, pupils)
    picture = picture - 0.35 * ellipse(aside, y + above + brows + slant * aside, large + 0.06, of_person(0.03, 0.07))
    picture = picture - 0.2 * ellipse(x, y - 0.05, of_person(0.04, 0.12), of_person(0.1, 0.25))
    picture = picture - 0.4 * ellipse(x, y - of_person(0.35, 0.5), of_person(0.12, 0.35), mouth + talking)
    picture = picture - of_person(0.0, 0.5) * head * torch.sigmoid(20 * (-y - of_person(0.35, 0.65)))  # hair
    light = 1 + of_image(-0.3, 0.3) * right + of_image(-0.2, 0.2)
    noise = 0.05 * torch.randn(people, faces, SIDE, SIDE, generator=random)
    return Faces((picture * light + noise)[:, :, None])


def rank1(model: nn.Module, faces: Faces) -> float:
    """Return the share of faces whose most similar other face is of the same person."""
    embedded = torch.cat([model(images) for images in faces.together.split(128)])
    likeness = (embedded @ embedded.T).fill_diagonal_(-2)
    person = torch.arange(len(faces.images)).repeat_interleave(faces.images.shape[1])
    return float((person[likeness.argmax(1)] == person).double().mean())


def train_epoch(model: nn.Module, teacher: nn.Module | None, faces: Faces, lr: float) -> float:
    """Learn all people once, and where there is a teacher its embeddings as well; return the mean loss."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    batches = torch.randperm(len(faces.images)).split(PEOPLE)
    total = 0.0
    for index in batches:
        images = faces.images[index].flatten(0, 1)
        embedded = model(images)
        loss = prototype_loss(embedded.view(len(index), FACES, LENGTH))
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(images)
            loss = loss + SHARPNESS * (1 - (embedded * wanted).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach())
    return total / len(batches)


def prototype_loss(embedded: Tensor) -> Tensor:
    """Return the cross-entropy of half of everybody's faces (people, faces, length) among the means of the others."""
    known, asked = embedded.chunk(2, 1)
    likeness = asked.flatten(0, 1) @ F.normalize(known.mean(1)).T
    return F.cross_entropy(SHARPNESS * likeness, torch.arange(len(embedded)).repeat_interleave(asked.shape[1]))


def main(words: Sequence[str] | None = None) -> None:
    """Train an embedding if there is none yet, compress it, and say what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", default="0.4x", help="share of the original's latency in fp32, or milliseconds")
    parser.add_argument("--device", default="host", help="where it must hold")
    parser.add_argument("--episodes", type=int, default=20, help="policies that the search scores")
    parser.add_argument("--out", type=Path, default=Path("runs/embedding"), help="folder for weights and run")
    parser.add_argument("--quick", action="store_true", help="a glimpse, of few people and for few epochs")
    arguments = parser.parse_args(words)
    people, epochs, tuning = (96, 4, 1) if arguments.quick else (1000, 8, 4)
    training, validation, test = (draw(count, seed) for seed, count in enumerate((people, people // 8, people // 8)))

    torch.manual_seed(0)
    model, weights = FaceNet(), arguments.out / "facenet.pt"
    if weights.exists():
        load_checkpoint(model, weights)
    else:
        for epoch in range(epochs):
            train_epoch(model, None, training, 4e-3 * (1 - epoch / epochs))
        save_checkpoint(model, weights)

    task = OwnTask(
        metric="rank-1",
        score=lambda network: rank1(network, validation),
        train=lambda network, teacher, epoch, epochs: train_epoch(
            network, teacher, training, 2e-3 * (1 - epoch / epochs)
        ),
        test=lambda network: rank1(network, test),
    )
    result = compress(
        model,
        training.together,
        task=task,
        latency=arguments.latency,
        device=arguments.device,
        episodes=arguments.episodes,
        epochs=tuning,
        run=arguments.out / "run",
    )
    for name in ("original", "compressed"):
        figures = result.summary[name]
        print(f"{name:10}  {figures['accuracy']:6.2%} rank-1  {figures['latency_ms']:.4f} ms  {figures['macs']} MACs")
    print(f"{result.summary['precision']} ships; report: {result.run / 'report.html'}")


if __name__ == "__main__":
    main()
