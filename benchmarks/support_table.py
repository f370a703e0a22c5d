"""Which networks can be pruned: traces each, prunes random channels, and holds the result against the masked original.

For every random policy the pruned network must compute what the original computes with the removed channels
masked (within 1e-4 of the largest output), with exactly the predicted parameters and MACs; one policy is exported
to TFLite and must compute there what it computes in PyTorch. Weights are random: the check needs none that are trained.

    python benchmarks/support_table.py [--networks NAME ...] [--policies 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from amc_hw.errors import AmcHwError
from amc_hw.formats.export import export as export_file
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.groups import Network, trace
from amc_hw.tracing.slicing import cut
from amc_hw.tracing.verify import masked

ZOO = ("mobilenet_v1", "mobilenet_v2", "plain20", "resnet20", "resnet56")
TORCHVISION = (
    "vgg16_bn",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "mnasnet1_0",
    "regnet_y_400mf",
    "densenet121",
    "squeezenet1_1",
    "shufflenet_v2_x1_0",
    "googlenet",
    "convnext_tiny",
)
DETECTOR = "ssdlite320_mobilenet_v3_large"
TOLERANCE = 1e-4


def build(name: str, size: int | None = None) -> tuple[nn.Module, Any]:
    """Return a network with random weights and its example input, of its own image size or another one."""
    if name == DETECTOR:
        detector = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        return detector.eval(), [torch.rand(3, 320, 320)]
    if name in ZOO:
        own = default_image_size(name)
        return build_model(name, 10 if own == 32 else 1000).eval(), torch.rand(1, 3, size or own, size or own)
    extra = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, **extra).eval(), torch.rand(1, 3, size or 224, size or 224)


def calibrate_norms(model: nn.Module, example: Any) -> None:
    """Give batch norms the statistics of an input: with random weights, activations would vanish or explode."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)

        def hook(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            others = [axis for axis in range(inputs[0].ndim) if axis != 1]
            norm.running_mean.copy_(inputs[0].mean(others))
            norm.running_var.copy_(inputs[0].var(others, correction=0) + 1e-3)

        norm.register_forward_pre_hook(hook)
    outputs(model, example)
    for norm in norms:
        norm._forward_pre_hooks.clear()


def outputs(model: nn.Module, example: Any) -> list[Tensor]:
    """Return what a network computes; of a detector, its head: what follows picks boxes, and ties fall either way."""
    told: list[Any] = []
    last = model.head if isinstance(example, list) else model
    hook = last.register_forward_hook(lambda module, inputs, output: told.append(output))
    with torch.no_grad():
        model(example)
    hook.remove()
    return [leaf for leaf in tree_flatten(told[0])[0] if isinstance(leaf, Tensor)]


def draw(network: Network, random: np.random.Generator) -> dict[str, list[int]]:
    """Draw how many channels every group keeps, at least one, and which."""
    counts = {name: int(random.integers(1, channels + 1)) for name, channels in network.original.items()}
    return {name: sorted(random.permutation(network.original[name])[:count].tolist()) for name, count in counts.items()}


def difference(model: nn.Module, network: Network, kept: dict[str, list[int]], example: Any) -> float:
    """Return how far the pruned network is off the masked one, of the largest output; refuse wrong costs."""
    small = cut(model, network.groups, kept)
    policy = {name: len(channels) for name, channels in kept.items()}
    with attention_by_parts(), FlopCounterMode(display=False) as counter:
        have = outputs(small, example)
    want = outputs(masked(model, network.groups, kept), example)
    if counter.get_total_flops() // 2 != network.macs(policy):
        raise AmcHwError(f"MACs {counter.get_total_flops() // 2} where {network.macs(policy)} were predicted")
    if sum(p.numel() for p in small.parameters()) != network.params(policy):
        raise AmcHwError("another number of parameters than predicted")
    pairs = list(zip(have, want, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        raise AmcHwError("outputs of another shape than the masked network's")
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in pairs if b.numel())


class Joined(nn.Module):
    """A network with all its outputs in one tensor, for comparison."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([output.flatten(1) for output in tree_flatten(self.model(image))[0]], 1)


def export(model: nn.Module, network: Network, kept: dict[str, list[int]], example: Any) -> None:
    """Export a pruned network, which compares its outputs; of a detector the backbone."""
    small = cut(model, network.groups, kept)
    if isinstance(example, list):
        small, example = small.backbone, torch.rand(1, *example[0].shape)
    with tempfile.TemporaryDirectory() as folder:
        export_file(Joined(small).eval(), example, Path(folder) / "model.tflite")


def row(name: str, policies: int) -> list[str]:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model, example = build(name)
    calibrate_norms(model, example)
    started = time.perf_counter()
    network = trace(model, example)
    seconds = time.perf_counter() - started
    drawn = [draw(network, random) for _ in range(policies)]
    worst = max(difference(model, network, kept, example) for kept in drawn)
    if worst > TOLERANCE:
        raise AmcHwError(f"outputs differ from the masked network's by {worst:.1e}")
    export(model, network, drawn[0], example)
    layers = {layer.name for layer in network.layers}
    least = dict.fromkeys(network.original, 1)
    return [
        name,
        str(len(network.groups)),
        f"{len(layers - set(network.unprunable))} of {len(layers)}",
        f"{network.macs(least) / network.macs(network.original):.1%}",
        f"{worst:.0e}",
        "yes",
        f"{seconds:.1f}",
        "; ".join(sorted({reason for layer, reason in network.unprunable.items() if layer in layers})),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[*ZOO, *TORCHVISION, DETECTOR])
    parser.add_argument("--policies", type=int, default=3)
    arguments = parser.parse_args()
    columns = ("network", "groups", "layers pruned", "least MACs", "difference", "TFLite", "trace s", "left alone")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns), flush=True)
    failed = 0
    for name in arguments.networks:
        try:
            cells = row(name, arguments.policies)
        except AmcHwError as error:
            cells, failed = [name, *[""] * (len(columns) - 2), f"FAILED: {error}"], failed + 1
        print("| " + " | ".join(cells) + " |", flush=True)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
