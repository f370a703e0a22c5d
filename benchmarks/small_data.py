"""What fine-tuning does to a pruned network of a small data set: the demonstration's, in several ways.

    python benchmarks/small_data.py --within --seeds 5
    python benchmarks/small_data.py --seeds 5

For every seed, the demonstration's network is trained, pruned to a share of its multiply-accumulates by one policy,
the later layers more than the first ones, and fine-tuned in each way. `--within` leaves the test set alone: ways are
compared on a fifth of the training images, another one for every seed, which nothing else sees. `--keep` is a folder
for the trained networks, so that a second call need not train them again.
"""

from __future__ import annotations

import argparse
import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from amc_hw.data.dataset import Data, load_data
from amc_hw.models.checkpoint import load_own_checkpoint, save_checkpoint
from amc_hw.models.zoo import build_model
from amc_hw.pipeline.trained import TrainedModel, make_trained_model
from amc_hw.pruning.pruner import Pruner
from amc_hw.runs.config import DEMO_DATA, DEMO_MODEL
from amc_hw.training.evaluation import evaluate
from amc_hw.training.loop import train
from amc_hw.training.recipe import demo_recipe, recovery_recipe

# name: whether the validation split is learned, and what differs from the settings of small data sets
WAYS: dict[str, tuple[bool, dict[str, Any]]] = {
    "all images learned, last weights": (True, {"keep_last": True, "ema": None}),
    "the split chooses": (False, {"ema": None}),
    "the split chooses, a tenth of the rate": (False, {"ema": None, "lr": 0.1}),
    "the split chooses averaged weights": (False, {}),
}
FOLDS = 5


def fold_of(data: Data, fold: int) -> Data:
    """Return the data with a fifth of the training images for a test set, and a tenth of the others for a split."""
    every = data.with_search_learned().train
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(123))
    tested = torch.zeros(len(every), dtype=torch.bool)
    tested[order[fold % FOLDS :: FOLDS]] = True
    rest = (~tested).nonzero().flatten()
    rest = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(fold))]
    parts = {"search": rest[: len(rest) // 10], "train": rest[len(rest) // 10 :], "test": tested.nonzero().flatten()}
    return replace(
        data,
        **{
            name: replace(every, positions=every.positions[index], labels=every.labels[index])
            for name, index in parts.items()
        },
    )


def policy_of(trained: TrainedModel, share: float, fall: float) -> dict[str, int]:
    """Return channels for a share of the multiply-accumulates; the last group keeps 1 - fall of the first's ratio."""
    network, low, high = trained.network, 0.1, 2.0
    names = list(trained.choices)

    def policy(scale: float) -> dict[str, int]:
        ratios = {name: scale * (1 - fall * place / (len(names) - 1)) for place, name in enumerate(names)}
        return {
            name: min(trained.choices[name], key=lambda count: abs(count - ratio * network.original[name]))
            for name, ratio in ratios.items()
        }

    for _ in range(30):
        middle = (low + high) / 2
        small = network.macs(policy(middle)) <= share * network.macs(network.original)
        low, high = (middle, high) if small else (low, middle)
    return policy(low)


def trained_network(data: Data, seed: int, keep: Path | None) -> nn.Module:
    model = build_model(DEMO_MODEL, data.num_classes, data.image_size[0], seed=seed)
    if keep is not None and keep.exists():
        load_own_checkpoint(model, keep)
        return model.eval()
    train(model, data, demo_recipe(), seed=seed)
    if keep is not None:
        save_checkpoint(model, keep)
    return model


def right_of(data: Data, seed: int, keep: Path | None, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the accuracy of the original, of the pruned network and of every way, in per cent."""
    trained = make_trained_model(trained_network(data, seed, keep), data)
    images, labels = data.train.first(len(data.train), 0)
    policy = policy_of(trained, arguments.macs, arguments.fall)
    pruned = Pruner(trained.model, trained.network, images, labels=labels).pruned(policy, thorough=True)
    found = {"original": evaluate(trained.model, data.test), "pruned": evaluate(pruned, data.test)}
    for name, (learned, changed) in WAYS.items():
        model, used = copy.deepcopy(pruned), data.with_search_learned() if learned else data
        recipe = recovery_recipe(len(used.train), arguments.epochs)
        recipe = replace(recipe, **{**changed, "lr": recipe.lr * changed.get("lr", 1.0)})
        train(model, used, recipe, seed=seed, teacher=trained.model)
        found[name] = evaluate(model, data.test)
    print(f"seed {seed}: " + ", ".join(f"{name} {100 * value:.2f}" for name, value in found.items()), flush=True)
    return {name: 100 * value for name, value in found.items()}


def table(rows: Mapping[str, list[float]]) -> None:
    for name, values in rows.items():
        changes = [value - original for value, original in zip(values, rows["original"], strict=True)]
        mean, change = sum(values) / len(values), sum(changes) / len(changes)
        print(f"{name:40} {mean:6.2f} %  {change:+5.2f} points, {min(changes):+5.2f} at worst")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--within", action="store_true", help="leave the test set alone")
    parser.add_argument("--macs", type=float, default=0.47, help="share of the multiply-accumulates that stays")
    parser.add_argument("--fall", type=float, default=0.8, help="how much less the last layers keep")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="folder for the trained networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    whole, rows = load_data(DEMO_DATA), defaultdict(list)
    for seed in range(arguments.seeds):
        data = fold_of(whole, seed) if arguments.within else whole
        keep = arguments.keep and arguments.keep / f"base-{'dev' if arguments.within else 'test'}-{seed}.pt"
        for name, value in right_of(data, seed, keep, arguments).items():
            rows[name].append(value)
    table(rows)


if __name__ == "__main__":
    main()
