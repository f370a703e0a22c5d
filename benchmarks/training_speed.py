"""Images a second of training steps: as chosen, all in bfloat16, all in float32, and in int8 with torch's rounding.

    OMP_NUM_THREADS=1 python benchmarks/training_speed.py --models resnet20,mobilenet_v1_cifar_0.5

A step is forward, loss and gradients of 128 random images of 32x32 pixels, without a teacher. The ways take turns in
one process; the median step counts, by the processor's time, so that neighbours on a busy machine count little.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amc_hw.models.zoo import build_model
from amc_hw.quantize.simulated import Grid, Simulated
from amc_hw.training.memory import keep_freed_memory
from amc_hw.training.number_format import fast_training

BATCH, SIDE, CLASSES = 128, 32, 10
WARM_UP = 2


def by_torch(grid: Grid, x: Tensor) -> Tensor:
    """Round to a grid as torch's fake quantization does."""
    return torch.fake_quantize_per_tensor_affine(x, grid.scale, grid.zero, grid.least, grid.most)


def seconds(
    model: nn.Module, images: Tensor, labels: Tensor, around: Callable[[], AbstractContextManager[object]]
) -> float:
    """Return the processor's time of a step."""
    start = time.process_time()
    model.zero_grad()
    with around():
        logits = model(images)
        torch.autograd.backward(F.cross_entropy(logits.float(), labels))
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet20,resnet56,mobilenet_v1_cifar_0.5,mobilenet_v2_cifar_0.25")
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    keep_freed_memory()
    cpu, generator = torch.device("cpu"), torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)

    def autocast() -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16)

    def chosen() -> AbstractContextManager[object]:
        return fast_training(cpu)

    columns = ("network", "all in bfloat16", "all in float32", "as chosen", "int8, rounded by torch", "int8")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for name in arguments.models.split(","):
        model = build_model(name, CLASSES)
        simulated = Simulated(copy.deepcopy(model), images[:64]).to(memory_format=torch.channels_last).train()
        model = model.to(memory_format=torch.channels_last).train()
        ways = [(model, autocast), (model, nullcontext), (model, chosen), (simulated, chosen), (simulated, chosen)]
        times: list[list[float]] = [[] for _ in ways]
        for _ in range(WARM_UP + arguments.steps):
            for number, (each, around) in enumerate(ways):
                with mock.patch.object(Grid, "__call__", by_torch) if number == 3 else nullcontext():
                    times[number].append(seconds(each, images, labels, around))
        speeds = [BATCH / statistics.median(each[WARM_UP:]) for each in times]
        print(f"| {name} | " + " | ".join(f"{speed:.0f}" for speed in speeds) + " |", flush=True)


if __name__ == "__main__":
    main()
