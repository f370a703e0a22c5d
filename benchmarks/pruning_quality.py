"""Accuracy before fine-tuning when all channels inside the residual blocks are halved, method by method.

    python benchmarks/pruning_quality.py --model resnet56 --checkpoint resnet56.pt --data-root CIFAR10_NPZ
    python benchmarks/pruning_quality.py --model resnet56 --checkpoint resnet56.pt --data-root CIFAR10_NPZ --epochs 30
    python benchmarks/pruning_quality.py --model mobilenet_v1

`--data-root` is a folder with train.npz and test.npz. Seconds are those of one CPU core. With --epochs, the network of
the last but one method is fine-tuned as `amc-hw compress` does it and scored again; nothing else is measured then.
Without a checkpoint the weights are random, the images 224 pixels wide, and only the seconds of a policy are told.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from enlarged import enlarged_digits
from layer_rows import gather_rows
from torch import Tensor, nn

from amc_hw.cli.terminal import progress_bar
from amc_hw.data.dataset import Data, load_data
from amc_hw.models.checkpoint import load_checkpoint
from amc_hw.models.zoo import build_model
from amc_hw.pruning.importance import consumers
from amc_hw.pruning.pruner import Pruner
from amc_hw.pruning.statistics import estimate_norms
from amc_hw.tracing.groups import Network, trace
from amc_hw.training.evaluation import evaluate
from amc_hw.training.loop import train
from amc_hw.training.recipe import recovery_recipe

# name: importance, reconstruction, thorough, all batch norms given new statistics
METHODS = {
    "magnitude, no reconstruction": ("magnitude", "none", False, False),
    "magnitude, inputs of the original": ("magnitude", "original", False, False),
    "magnitude, inputs as pruned so far": ("magnitude", "sequential", True, False),
    "Taylor, no reconstruction": ("taylor", "none", False, False),
    "Taylor, residual sums, quick": ("taylor", "residual", False, False),
    "elimination, no reconstruction": ("reconstruction", "none", False, False),
    "elimination, inputs of the original": ("reconstruction", "original", False, False),
    "elimination, inputs as pruned so far": ("reconstruction", "sequential", True, False),
    "elimination, residual sums, quick": ("reconstruction", "residual", False, False),
    "elimination, residual sums": ("reconstruction", "residual", True, False),
    "elimination, residual sums, batch norms": ("reconstruction", "residual", True, True),
}


def halved(network: Network) -> dict[str, int]:
    return {name: channels // 2 for name, channels in network.original.items()}


def fresh_fit_seconds(
    model: nn.Module, network: Network, kept: dict[str, list[int]], images: Tensor, points: int
) -> float:
    """Seconds of a new least-squares fit of every pruned layer from its rows, as AMC's official code does."""
    modules = dict(model.named_modules())
    readers = {reader.name: (group, reader) for group in network.groups for reader in consumers(group, modules)}
    rows = gather_rows(model, readers, images, points)
    start = time.process_time()
    for name, (group, reader) in readers.items():
        y = rows[name] @ reader.layer.weight.detach().flatten(1).T
        torch.linalg.lstsq(rows[name][:, reader.columns[kept[group.name]].flatten()], y)
    return time.process_time() - start


def costs(model: nn.Module, data: Data, images: int, points: int) -> None:
    """Print the seconds of one policy, quick and thorough, and of fresh fits on the same images."""
    calibration, _ = data.train.first(images, 0)
    network = trace(model, calibration[:1])
    policy = halved(network)
    start = time.process_time()
    pruner = Pruner(model, network, calibration, points=points)
    pruner.pruned(policy)
    print(f"{len(calibration)} images, statistics once: {time.process_time() - start:.1f} s", flush=True)
    for name, thorough in (("quick", False), ("thorough", True)):
        start = time.process_time()
        pruner.pruned(policy, thorough=thorough)
        print(f"{name:8} {time.process_time() - start:.2f} s a policy", flush=True)
    print(f"fresh    {fresh_fit_seconds(model, network, pruner.kept(policy), calibration, points):.2f} s a policy")


def measure(model: nn.Module, data: Data, part: str, images: int, points: int) -> None:
    calibration, labels = data.train.first(images, 0)
    scored = data.test if part == "test" else data.search
    network = trace(model, calibration[:1])
    policy = halved(network)
    print(f"original {100 * evaluate(model, scored):.2f} %, {network.macs(network.original) / 1e6:.1f} M MACs")
    print(f"halved   {network.macs(policy) / 1e6:.1f} M MACs, {len(calibration)} calibration images")
    for name, (importance, reconstruction, thorough, norms) in METHODS.items():
        start = time.process_time()
        pruner = Pruner(
            model,
            network,
            calibration,
            labels=labels,
            importance=importance,
            reconstruction=reconstruction,
            points=points,
        )
        pruner.pruned(policy, thorough=thorough)  # gathers the targets
        middle = time.process_time()
        small = pruner.pruned(policy, thorough=thorough)
        end = time.process_time()
        if norms:
            estimate_norms(small, [m for m in small.modules() if isinstance(m, nn.BatchNorm2d)], calibration)
        accuracy = 100 * evaluate(small, scored)
        print(f"{name:42} {accuracy:6.2f} %  {middle - start:6.1f} s once  {end - middle:6.2f} s a policy", flush=True)
    seconds = fresh_fit_seconds(model, network, pruner.kept(policy), calibration, points)
    print(f"a fresh least-squares fit of every layer   {seconds:.2f} s a policy")


def finetuned(
    model: nn.Module, data: Data, images: int, points: int, epochs: int, state: Path | None, threads: int
) -> None:
    """Fine-tune the halved network with the original as its teacher."""
    calibration, _ = data.train.first(images, 0)
    network = trace(model, calibration[:1])
    small = Pruner(model, network, calibration, points=points).pruned(halved(network))
    original, before = evaluate(model, data.test), evaluate(small, data.test)
    start = time.perf_counter()
    torch.set_num_threads(threads)  # only now: the state belongs to the pruned network, digit for digit
    with progress_bar() as progress:
        train(
            small,
            data,
            recovery_recipe(len(data.train), epochs),
            teacher=model,
            progress=progress,
            state_path=state,
        )
    minutes, after = (time.perf_counter() - start) / 60, evaluate(small, data.test)
    print(
        f"test set: original {original:.2%}, halved {before:.2%}, after {epochs} epochs "
        f"{after:.2%} ({after - original:+.2%}), {minutes:.0f} min"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--images", type=int, default=2560, help="calibration images")
    parser.add_argument("--points", type=int, default=16, help="output positions of an image and layer")
    parser.add_argument("--part", choices=["search", "test"], default="test", help="what is scored")
    parser.add_argument("--epochs", type=int, help="fine-tune the halved network for so many epochs")
    parser.add_argument("--state", type=Path, help="file from which a stopped fine-tuning goes on")
    parser.add_argument("--threads", type=int, default=1, help="of the fine-tuning")
    arguments = parser.parse_args()
    if (arguments.checkpoint is None) != (arguments.data_root is None):
        parser.error("--checkpoint and --data-root belong together")
    torch.set_num_threads(1)
    data = load_data(f"npz:{arguments.data_root}") if arguments.checkpoint else enlarged_digits()
    model = build_model(arguments.model, data.num_classes, data.image_size[0])
    if arguments.checkpoint is None:
        costs(model.eval(), data, arguments.images, arguments.points)
        return
    load_checkpoint(model, arguments.checkpoint)
    if arguments.epochs:
        finetuned(
            model.eval(), data, arguments.images, arguments.points, arguments.epochs, arguments.state, arguments.threads
        )
    else:
        measure(model.eval(), data, arguments.part, arguments.images, arguments.points)


if __name__ == "__main__":
    main()
