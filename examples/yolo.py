"""Compress a YOLO of ultralytics and have it back as one: version 8, 11 or 26, for boxes or for masks.

    pip install ultralytics
    python examples/yolo.py [--model yolo11n.yaml] [--latency 0.7x] [--precision int8] [--out runs/yolo] [--quick]
    python examples/yolo.py --model best.pt --data data.yaml --imgsz 640 --out runs/mine

`--model` is a name of ultralytics, which is trained first by its trainer, or your own weights. Without `--data`,
images are drawn: discs, squares and triangles of any colour. The search scores by the mAP (50-95) of ultralytics'
validator on the validation split, fine-tuning is its trainer's, with its loss and its augmentation, and the test split
is asked once, of the files that were timed. With `--precision int8` a file of whole numbers ships, with `auto` what
keeps most of the mAP within the budget. What comes out is that file, and `small.pt`, which `ultralytics.YOLO` loads,
predicts with, validates and exports. Started again with the same folder, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset
from ultralytics.nn.modules import C2f
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER

from amc_hw import Compressed, OwnTask, compress

SHAPES = {"disc": 32, "square": 4, "triangle": 3}  # by their number of corners
BATCH = 16
RECIPE = {"optimizer": "AdamW", "nbs": BATCH, "batch": BATCH, "mosaic": 0.0}
RATE = 1e-3  # of fine-tuning, at its start
MOST_INPUTS = 640  # training images that tell the statistics for pruning


def draw(folder: Path, counts: dict[str, int], side: int) -> Path:
    """Draw images, each with up to four shapes that do not touch, with their outlines as labels; return data.yaml."""
    data = folder / "data.yaml"
    if data.exists():
        return data
    for split, count in counts.items():
        random = np.random.default_rng([*split.encode()])
        images, labels = folder / "images" / split, folder / "labels" / split
        for place in (images, labels):
            place.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, lines = draw_one(random, side)
            image.save(images / f"{number}.png")
            (labels / f"{number}.txt").write_text("\n".join(lines))
    splits = "".join(f"{split}: images/{split}\n" for split in counts)
    data.write_text(f"path: {folder.resolve()}\n{splits}names: {list(SHAPES)}\n")
    return data


def draw_one(random: np.random.Generator, side: int) -> tuple[Image.Image, list[str]]:
    """Return an image and a line for each of its shapes: the class, and the outline's x y ... from 0 to 1."""
    colours = random.uniform(0, 255, (5, 3))
    noise = colours[0] + random.normal(0, 20, (side, side, 3))
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    lines = []
    for quarter in np.flatnonzero(random.random(4) < 0.6):
        kind = int(random.integers(len(SHAPES)))
        radius = side * random.uniform(0.09, 0.22)
        centre = side / 2 * (np.array([quarter % 2, quarter // 2]) + 0.5) + random.uniform(-1, 1, 2) * (
            side / 4 - radius
        )
        corners = list(SHAPES.values())[kind]
        angles = random.uniform(0, 2 * math.pi) + 2 * math.pi * np.arange(corners) / corners
        outline = centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        colour = colours[0] + 70 * np.sign(colours[quarter + 1] - 127) + random.normal(0, 10, 3)
        ImageDraw.Draw(image).polygon([*map(tuple, outline)], fill=tuple(colour.clip(0, 255).astype(int)))
        lines.append(f"{kind} " + " ".join(f"{number:.5f}" for number in (outline / side).flatten()))
    return image, lines


class Precision:
    """The mean average precision (50-95) of networks on one split, by ultralytics' validator.

    Args:
        detector: whose classes and kind of task it is for.
        data: the data set's data.yaml.
        split: of it.
        imgsz: the side of the images in pixels.
    """

    def __init__(self, detector: YOLO, data: Path, split: str, imgsz: int) -> None:
        settings = {
            "task": detector.task,
            "data": str(data),
            "split": split,
            "imgsz": imgsz,
            "plots": False,
            "workers": 0,
        }
        self.validator = detector.task_map[detector.task]["validator"](args=settings, save_dir=data.parent)
        self.validator.data = check_det_dataset(str(data))
        self.validator.device, self.validator.stride = torch.device("cpu"), 32
        self.validator.names = detector.names
        self.validator.dataloader = self.validator.get_dataloader(self.validator.data[split], BATCH)
        self.like = detector.model
        self.key = self.key_of(detector)

    @staticmethod
    def key_of(detector: YOLO) -> str:
        """Return what ultralytics calls the figure: of masks where there are some, else of boxes."""
        return f"metrics/mAP50-95({'M' if detector.task == 'segment' else 'B'})"

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> float:
        """Return it of a network, or of a file that stands for one."""
        self.validator.device = next(network.parameters()).device
        self.validator.init_metrics(self.like)
        for batch in self.validator.dataloader:
            batch = self.validator.preprocess(batch)
            self.validator.update_metrics(self.validator.postprocess(network(batch["img"])), batch)
        return float(self.validator.get_stats()[self.key])

    def images(self, most: int) -> Tensor:
        """Return the first images as networks take them (N, 3, imgsz, imgsz)."""
        found: list[Tensor] = []
        for batch in self.validator.dataloader:
            found.append(self.validator.preprocess(batch)["img"])
            if sum(map(len, found)) >= most:
                break
        return torch.cat(found)[:most]


class OneEpoch:
    """What makes one of ultralytics' trainers learn one epoch of many, of the network that it is given.

    Attributes:
        first: which one, from 0.
    """

    first = 0

    def resume_training(self, checkpoint: Any) -> None:
        """Begin there: the rate falls, and the losses are weighed, as in one training of all epochs."""
        self.resume = self.first > 0
        super().resume_training({"epoch": self.first - 1})

    def validate(self) -> tuple[dict[str, float], None]:
        """Stop; amc-hw asks for scores, and keeps the networks."""
        self.stop = True
        return {}, None

    def save_model(self) -> bool:
        """Save nothing."""
        return False

    def final_eval(self) -> None:
        """Validate nothing."""


def train_epoch(network: nn.Module, epoch: int, settings: dict[str, Any], task_map: dict[str, Any]) -> float:
    """Let ultralytics' trainer teach a network for one epoch, take its averaged weights, and return the loss.

    For int8 it is within a module that rounds as the file will: its loss is then of what that module gives.
    """
    own = {"seed": epoch, "device": str(next(network.parameters()).device)}
    trainer = type("Trainer", (OneEpoch, task_map["trainer"]), {"first": epoch})(overrides={**settings, **own})
    learner = network if isinstance(network, BaseModel) else network.model
    if learner is not network:
        loss = learner.loss
        learner.loss = lambda batch, preds=None: loss(batch, network(batch["img"]) if preds is None else preds)
    try:
        trainer.model = learner
        trainer.train()
    finally:
        vars(learner).pop("loss", None)
    learner.load_state_dict(trainer.ema.ema.state_dict())
    learner.criterion = None  # it is made of the settings of this epoch
    return float(sum(trainer.tloss.values()))


def trained(model: str | Path, folder: Path, settings: dict[str, Any]) -> YOLO:
    """Return a detector as ultralytics trains it, from the start or from its weights, or as it was trained here."""
    weights = folder / "weights"
    if (folder / "done").exists():
        return YOLO(weights / "best.pt")
    begun = (weights / "last.pt").exists()
    detector = YOLO(weights / "last.pt" if begun else model)
    detector.train(**settings, project=str(folder.parent.resolve()), name=folder.name, resume=begun)
    (folder / "done").touch()
    return YOLO(weights / "best.pt")


def test_split(data: Path) -> str:
    """Return which split has the last word."""
    if check_det_dataset(str(data)).get("test"):
        return "test"
    print(f"{data} has no test images: the figures are of the validation images, on which the search chooses.")
    return "val"


def kept_whole(network: nn.Module) -> list[str]:
    """Return the layers whose channels a head reads that only learns: YOLO26's for masks."""
    head = network.model[-1]
    return [f"model.{head.i}.proto.feat_refine.*"] if hasattr(getattr(head, "proto", None), "semseg") else []


def compressed(detector: YOLO, data: Path, arguments: argparse.Namespace, settings: dict[str, Any]) -> Compressed:
    """Compress a detector's network by its mAP; the networks are called as ultralytics exports them."""
    precision = partial(Precision, detector, data, imgsz=arguments.imgsz)
    inputs = precision("train").images(MOST_INPUTS)
    parts = detector.task_map[detector.task]
    place = {"model": "given", "task": detector.task, "project": str(arguments.out.resolve()), "name": "epoch"}
    network = detector.model.requires_grad_(True)  # ultralytics loads weights frozen
    if arguments.precision != "fp32":
        network.model[-1].dynamic = True  # anchors are made in every call: int8 is simulated call by call
    network.model[-1].export = True  # what its exported files give: decoded boxes and scores, no maps beside them

    def train(network: nn.Module, teacher: nn.Module, epoch: int, epochs: int) -> float:
        tuning = {**settings, **place, "epochs": epochs, "lr0": RATE, "warmup_epochs": 0}
        return train_epoch(network, epoch, tuning, parts)

    return compress(
        network,
        inputs,
        task=OwnTask(metric="mAP 50-95", score=precision("val"), train=train, test=precision(arguments.test)),
        latency=arguments.latency,
        device=arguments.device,
        precision=arguments.precision,
        exclude=kept_whole(network),
        episodes=arguments.episodes,
        epochs=arguments.epochs,
        run=arguments.out / "run",
    )


def as_detector(detector: YOLO, network: nn.Module, path: Path) -> YOLO:
    """Save a compressed network as a file of ultralytics and load that."""
    del network.model[-1].export
    vars(network.model[-1]).pop("dynamic", None)
    for block in network.modules():
        if isinstance(block, C2f):  # halves its channels in its forward pass, and by this number when it is exported
            block.c = block.cv1.conv.out_channels // 2
    detector.model = network
    detector.save(path)
    return YOLO(path)


def tell(result: Compressed, others: dict[str, float]) -> None:
    """Print what the run measured, the mAP of other networks, and whether pruning and precision each made it faster."""
    summary, shipped = result.summary, f"in {result.summary['precision']}"
    files = {
        "original in fp32": summary["original"],
        **summary["others"],
        f"compressed {shipped}": summary["compressed"],
    }
    for name, figures in files.items():
        print(f"{name}: mAP 50-95 {figures['accuracy']:.2%}  {figures['latency_ms']:.3f} ms")
    for name in ("original", "compressed"):
        print(f"{name}: {summary[name]['macs'] / 1e6:.1f} M MACs  {summary[name]['params'] / 1e3:.0f} k parameters")
    for name, precision in others.items():
        print(f"{name}: mAP 50-95 {precision:.2%}")
    for name in dict.fromkeys(("original in fp32", f"original {shipped}")):
        share = summary["compressed"]["latency_ms"] / files[name]["latency_ms"]
        print(f"{'faster' if share < 1 else 'NOT faster'} than the {name}: {share:.2f}x of its latency")
    print(f"report: {result.run / 'report.html'}")


def main(words: Sequence[str] | None = None) -> None:
    """Train a detector, if it is not, compress it, and say what it came to."""
    arguments = parsed(words)
    out, quick, epochs = arguments.out, arguments.quick, arguments.epochs
    counts = {"train": 48, "val": 16, "test": 16} if quick else {"train": 480, "val": 120, "test": 240}
    data = arguments.data or draw(out / "shapes", counts, arguments.imgsz)
    arguments.test = test_split(data)
    settings = {"data": str(data.resolve()), "imgsz": arguments.imgsz, "exist_ok": True, "plots": False, **RECIPE}
    others = {}
    if Path(arguments.model).suffix == ".pt":
        detector = YOLO(arguments.model)
    else:
        detector = trained(arguments.model, out / "original", {**settings, "epochs": 2 if quick else 60, "lr0": 2e-3})
        tuning = {**settings, "epochs": epochs, "lr0": RATE, "warmup_epochs": 0}
        longer = trained(out / "original" / "weights" / "best.pt", out / "longer", tuning)
        others["original, trained on for as long"] = Precision(longer, data, arguments.test, arguments.imgsz)(
            longer.model
        )

    LOGGER.setLevel(logging.WARNING)
    result = compressed(detector, data, arguments, settings)
    small = as_detector(detector, result.model, out / "small.pt")
    found = small.val(data=str(data), split=arguments.test, imgsz=arguments.imgsz, rect=False, plots=False, workers=0)
    others["compressed, loaded by ultralytics (in floating point)"] = found.results_dict[Precision.key_of(small)]
    tell(result, others)
    print(f"{out / 'small.pt'} is a model of ultralytics again, here exported: {small.export(imgsz=arguments.imgsz)}")


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolo11n.yaml", help="a name of ultralytics to train, or your weights (.pt)")
    parser.add_argument("--data", type=Path, help="data.yaml with train, val and test; drawn without")
    parser.add_argument("--imgsz", type=int, default=96, help="side of the images in pixels")
    parser.add_argument("--latency", default="0.7x", help="share of the original's latency, or milliseconds")
    parser.add_argument("--precision", default="fp32", help="of the file that ships: fp32, int8, or auto")
    parser.add_argument("--device", default="onnx", help="where it must hold: ONNX Runtime here, or another")
    parser.add_argument("--episodes", type=int, default=40, help="policies that the search scores")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of fine-tuning")
    parser.add_argument("--out", type=Path, default=Path("runs/yolo"), help="folder for weights and run")
    parser.add_argument("--quick", action="store_true", help="a glimpse, on few images and for few epochs")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
