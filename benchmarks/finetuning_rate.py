"""What fine-tuning makes of a run's pruned network at several highest learning rates, in a number of epochs.

    python benchmarks/finetuning_rate.py RUN --epochs 2 --rates 0.003,0.01,0.03

RUN is a finished run, or one that `amc-hw search` has made, of a large data set: its network before fine-tuning learns
all training images, as the run's own does, and is scored on the test set in the precision that ships (an integer one
as it is simulated while it learns). The first line says how well the original knows its training images; the table
begins with the pruned network as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from named_network import run_program

from amc_hw.cli.terminal import progress_bar
from amc_hw.pipeline.begin import open_trained
from amc_hw.pipeline.load import restore
from amc_hw.runs.folder import RunFolder
from amc_hw.tasks import classification
from amc_hw.tasks.goal import Finetuning
from amc_hw.training.evaluation import evaluate
from amc_hw.training.recipe import Recipe, recovery_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rates", default="0.003,0.01,0.03")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run, (_, trained) = RunFolder(arguments.run), open_trained(arguments.run)
    few = classification.few_images(trained.data, classification.ASKED, seed=0).train
    print(f"the original has {evaluate(trained.model, few):.1%} of {len(few)} training images right")
    print(f"| highest rate, {arguments.epochs} epochs | top-1 of the test set |\n|---|---|", flush=True)
    for rate in (None, *map(float, arguments.rates.split(","))):
        learner = trained.as_shipped(restore(run, trained, run.pruned))
        if rate is not None:
            recipe = at_rate(rate)
            with mock.patch.object(classification, "recovery_recipe", recipe), progress_bar() as progress:
                how = Finetuning(arguments.epochs, arguments.seed, learn_search=True, progress=progress)
                trained.task.finetune(learner, trained.model, how)
        print(f"| {rate or 'as it is'} | {trained.task.test(learner):.2%} |", flush=True)


def at_rate(rate: float) -> Callable[..., Recipe]:
    """Return the recipe of fine-tuning at another rate."""
    return lambda *arguments, **others: replace(recovery_recipe(*arguments, **others), lr=rate)


if __name__ == "__main__":
    run_program(main)
