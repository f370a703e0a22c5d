"""A shallower ResNet out of a deeper one's checkpoint: where the shallower one's own is not at hand.

    python benchmarks/shallower.py --model resnet56 --checkpoint r56.pt --data npz:CIFAR10 --into resnet32 --out r32.pt

In each stage the first block stays, and of the others as many as the shallower network has, evenly spaced; the network
is then trained with the deeper one as its teacher. Weights are written after the last epoch, and the top-1 on the test
set is printed. A file with the suffix .state keeps the epochs that are done, so that the same command goes on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from named_network import named_network, network_parser, run_program
from torch import nn

from amc_hw.cli.terminal import progress_bar
from amc_hw.errors import UsageError
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.pipeline.begin import load_model_and_data
from amc_hw.pipeline.trained import make_trained_model
from amc_hw.tasks.goal import Finetuning
from amc_hw.training.evaluation import evaluate


def taken_over(shallow: nn.Module, deep: nn.Module) -> None:
    """Give a ResNet the weights of a deeper one of the same widths.

    Raises:
        UsageError: the other has fewer blocks, or is no such network.
    """
    weights = {}
    for name, part in shallow.named_children():
        other = deep.get_submodule(name)
        if not isinstance(part, nn.Sequential):
            weights |= {f"{name}.{key}": value for key, value in other.state_dict().items()}
            continue
        if len(part) > len(other):
            raise UsageError(
                f"the stage {name} has {len(other)} blocks, {len(part)} are wanted; give a shallower --into."
            )
        for block, source in enumerate(np.linspace(0, len(other) - 1, len(part)).round().astype(int)):
            weights |= {f"{name}.{block}.{key}": value for key, value in other[source].state_dict().items()}
    shallow.load_state_dict(weights)


def main() -> None:
    parser = network_parser(__doc__)
    parser.add_argument("--into", required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    deep, data = named_network(options)
    shallow, _ = load_model_and_data(options.into, options.data, options.data_root)
    taken_over(shallow, deep)
    trained = make_trained_model(deep, data)
    with progress_bar() as progress:
        how = Finetuning(options.epochs, options.seed, True, progress, options.out.with_suffix(".state"))
        trained.task.finetune(shallow, trained.model, how)
    save_checkpoint(shallow.eval(), options.out)
    print(f"{options.into}: {evaluate(shallow, data.test):.2%} of the test set")


if __name__ == "__main__":
    run_program(main)
