"""Compress a detector: a network, data, a metric and a training of one's own, by the steps that amc-hw consists of.

    python examples/detector.py [--macs 0.5] [--episodes 30] [--out runs/detector] [--quick]

The detector is MobileNetV3's backbone with a small head that gives boxes; nothing is downloaded. It learns to find
coloured rectangles, loses half of its multiply-accumulates, and is fine-tuned by the same loop that trained it.
For a detector of yours, keep `compress` and replace the rest: the network (a tensor of images in, tensors out; put
decoding and non-maximum suppression outside), `make_scenes`, `average_precision` and `fit`. `amc_hw.compress(task=...)`
does all of this for a latency budget that is proved on the device: see segmentation.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import mobilenet_v3_small
from torchvision.ops import batched_nms, box_convert, box_iou

from amc_hw import (
    Pruner,
    export,
    load_checkpoint,
    macs_cost,
    run_study,
    save_checkpoint,
    search_space,
    trace,
)

SIDE, CELLS, CLASSES = 96, 6, 3  # pixels of an image, cells along a side of the output, colours of rectangles


class Detector(nn.Module):
    """For every cell of a grid: whether a rectangle's centre is in it, of which class, and its box."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = mobilenet_v3_small(norm_layer=nn.BatchNorm2d).features[
            :9
        ]  # 48 channels, a sixteenth of the image's side
        self.neck = nn.Sequential(nn.Conv2d(48, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.Hardswish())
        self.head = nn.Conv2d(64, 1 + CLASSES + 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 1 + classes + 4, cells, cells): object or not, class scores, x, y, width and height."""
        return self.head(self.neck(self.backbone(images)))


class Scenes(NamedTuple):
    """Images (N, 3, side, side), the boxes (n, 4) x1 y1 x2 y2 in pixels and classes (n,) of each, and its targets."""

    images: Tensor
    boxes: Sequence[Tensor]
    classes: Sequence[Tensor]
    targets: Tensor  # (N, 1 + 1 + 4, cells, cells): object or not, class, x, y, width and height as the network gives


def make_scenes(count: int, seed: int) -> Scenes:
    """Draw one to three rectangles on noise, red, green or blue; of two with centres in one cell, one is learned."""
    draw = torch.Generator().manual_seed(seed)
    images = 0.5 + 0.15 * torch.randn(count, 3, SIDE, SIDE, generator=draw)
    targets = torch.zeros(count, 6, CELLS, CELLS)
    boxes, classes = [], []
    for number in range(count):
        rectangles = int(torch.randint(1, 4, (1,), generator=draw))
        labels = torch.randint(CLASSES, (rectangles,), generator=draw)
        sizes = 0.2 + 0.3 * torch.rand(2, rectangles, generator=draw)
        corners = torch.rand(2, rectangles, generator=draw) * (1 - sizes)
        cell = CELLS * (corners + sizes / 2)
        column, row = cell.long()
        boxes.append((SIDE * torch.cat([corners, corners + sizes])).T.round())
        classes.append(labels)
        for (left, top, right, bottom), label in zip(boxes[-1].int().tolist(), labels.tolist(), strict=True):
            images[number, :, top:bottom, left:right] *= 0.4
            images[number, label, top:bottom, left:right] += 0.6
        targets[number, :, row, column] = torch.cat([torch.ones(1, rectangles), labels[None], cell % 1, sizes])
    return Scenes((images - 0.5) / 0.25, boxes, classes, targets)


def fit(model: nn.Module, scenes: Scenes, epochs: int, lr: float) -> None:
    """Train or fine-tune: the same loop, with a higher or a lower rate."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    batches = epochs * -(-len(scenes.images) // 50)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=batches)
    for epoch in range(epochs):
        order = torch.randperm(len(scenes.images), generator=torch.Generator().manual_seed(epoch))
        for index in order.split(50):
            optimizer.zero_grad()
            loss(model(scenes.images[index]), scenes.targets[index]).backward()
            optimizer.step()
            schedule.step()
    model.eval()


def loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the sum of three losses: object or not for every cell, class and box for those with an object."""
    here = target[:, 0] > 0
    right, wanted = output.permute(0, 2, 3, 1)[here], target.permute(0, 2, 3, 1)[here]
    named = F.cross_entropy(right[:, 1 : 1 + CLASSES], wanted[:, 1].long())
    placed = F.l1_loss(right[:, 1 + CLASSES :].sigmoid(), wanted[:, 2:])
    return 5 * F.binary_cross_entropy_with_logits(output[:, 0], target[:, 0]) + named + 5 * placed


def detections(output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes (n, 4), classes (n,) and scores (n,) of one image's output (1 + classes + 4, cells, cells)."""
    cells = output.flatten(1)
    place = torch.arange(CELLS * CELLS)
    x, y, width, height = cells[1 + CLASSES :].sigmoid()
    centres = torch.stack([(place % CELLS + x) / CELLS, (place // CELLS + y) / CELLS, width, height], 1)
    boxes = SIDE * box_convert(centres, "cxcywh", "xyxy")
    classes, scores = cells[1 : 1 + CLASSES].argmax(0), cells[0].sigmoid()
    kept = batched_nms(boxes, scores, classes, 0.5)
    return boxes[kept], classes[kept], scores[kept]


def average_precision(model: nn.Module, scenes: Scenes) -> float:
    """Return the area under precision over recall, 0..1; right is a box of IoU 0.5 or more with one of its class."""
    with torch.inference_mode():
        outputs = torch.cat([model(images) for images in scenes.images.split(100)])
    ranked: list[tuple[float, bool]] = []
    for output, truths, labels in zip(outputs, scenes.boxes, scenes.classes, strict=True):
        boxes, classes, scores = detections(output)
        overlaps = box_iou(boxes, truths) * (classes[:, None] == labels)
        for overlap, score in zip(overlaps, scores.tolist(), strict=True):  # the surest first
            best = int(overlap.argmax())
            right = bool(overlap[best] >= 0.5)
            ranked.append((score, right))
            if right:
                overlaps[:, best] = 0  # found once; what finds it again is wrong
    ranked.sort(reverse=True)
    hits = torch.tensor([right for _, right in ranked]).double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    best_from_here = precision.flip(0).cummax(0).values.flip(0)
    return float((best_from_here * hits).sum() / sum(map(len, scenes.boxes)))


def compress(model: nn.Module, training: Scenes, held_out: Scenes, share: float, episodes: int, out: Path) -> nn.Module:
    """Return a smaller network with so large a share of the MACs; it still has to be fine-tuned.

    Started again with the same folder, the search goes on where it was stopped.
    """
    example = torch.zeros(1, 3, SIDE, SIDE)
    traced = trace(model, example, exclude=["backbone.0"])  # its 16 channels are worth little
    pruner = Pruner(model, traced.network, training.images[:300])
    study = run_study(
        search_space(traced, macs_cost(traced), f"{share}x"),
        lambda policy: average_precision(pruner.pruned(policy), held_out),
        episodes=episodes,
        log=out / "episodes.jsonl",
    )
    return pruner.pruned(study.best.channels, thorough=True)


def main(words: Sequence[str] | None = None) -> None:
    """Train, compress, fine-tune and export; every step says how good the detector is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--macs", type=float, default=0.5, help="share of the multiply-accumulates that may stay")
    parser.add_argument("--episodes", type=int, default=30, help="policies that the search scores")
    parser.add_argument("--out", type=Path, default=Path("runs/detector"), help="folder for the weights and the search")
    parser.add_argument("--quick", action="store_true", help="a glimpse in seconds, on few images")
    arguments = parser.parse_args(words)
    images, epochs, tuning = (120, 4, 1) if arguments.quick else (2000, 10, 4)
    training, held_out, test = (make_scenes(n, seed) for seed, n in enumerate((images, images // 10, images // 5)))

    started = time.perf_counter()
    torch.manual_seed(0)
    model, weights = Detector(), arguments.out / "detector.pt"
    if weights.exists():
        load_checkpoint(model, weights)
        model.eval()
    else:
        fit(model, training, epochs, lr=3e-3)
        save_checkpoint(model, weights)
    report("trained", model, test, started)
    small = compress(model, training, held_out, arguments.macs, arguments.episodes, arguments.out)
    report("pruned", small, test, started)
    fit(small, training, tuning, lr=1e-3)
    report("fine-tuned", small, test, started)
    if not arguments.quick:
        export(model, test.images[:1], arguments.out / "original.tflite")
        export(small, test.images[:1], arguments.out / "compressed.tflite")
        print(f"time both: amc-hw benchmark {arguments.out}/original.tflite {arguments.out}/compressed.tflite")


def report(name: str, model: nn.Module, test: Scenes, started: float) -> None:
    """Print average precision on the test scenes, MACs and parameters."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(test.images[:1])
    params = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{name:10}  AP {average_precision(model, test):6.1%}  {counter.get_total_flops() / 2e6:6.2f} M MACs  "
        f"{params / 1e3:6.1f} k parameters  {time.perf_counter() - started:5.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
