"""Seconds an episode: ours against pruning by magnitude, a fresh least-squares fit, and all images, as AMC's code does.

    python benchmarks/search_speed.py --model resnet56 --checkpoint resnet56.pt --data npz:DIR
    python benchmarks/search_speed.py --model mobilenet_v1 --checkpoint mobilenet.pt --data npz:DIR --side 128

Where there is no checkpoint of that name, the network is trained and kept there: first on images of half the side.
The policies are those that a search asks for; both ways score all of them, with the same threads.
"""

from __future__ import annotations

import argparse
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from enlarged import enlarged
from torch import nn
from ways_amc import CALIBRATION_IMAGES, Fresh

from amc_hw.budget.cost import Cost
from amc_hw.budget.network_costs import network_costs
from amc_hw.cli.terminal import progress_bar
from amc_hw.data.dataset import Data, load_data
from amc_hw.data.sources import InMemory
from amc_hw.models.checkpoint import load_checkpoint, save_checkpoint
from amc_hw.models.zoo import build_model
from amc_hw.pipeline.search import CANDIDATES
from amc_hw.pipeline.steps import search_steps
from amc_hw.pipeline.trained import TrainedModel, make_pruner, make_trained_model
from amc_hw.policy import Policy
from amc_hw.pruning.pruner import Pruner
from amc_hw.search.rewards import find_reward
from amc_hw.search.scoring import EarlyDropping, PartScorer
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import build_strategy
from amc_hw.search.strategy import Result
from amc_hw.search.study import Score
from amc_hw.tracing.traced import PruningChoices
from amc_hw.training.evaluation import evaluate
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe

EPOCHS, LAST_EPOCHS = 2, 1
LEARNING_RATE = 0.05
BEST = 5  # policies that are scored on all images, too


def load(arguments: Namespace) -> tuple[nn.Module, Data]:
    """Return a trained network and its data, of which the images to score are ready in memory."""
    small = load_data(arguments.data, arguments.data_root)
    data = enlarged(small, arguments.side) if arguments.side else small
    side = data.image_size[1]
    model = build_model(arguments.model, data.num_classes, data.image_size[0])
    if not arguments.checkpoint.exists():
        for size, epochs in ((side // 2, EPOCHS), (side, LAST_EPOCHS)):
            with progress_bar() as progress:
                train(model, enlarged(small, size), Recipe(epochs=epochs, lr=LEARNING_RATE), progress=progress)
        save_checkpoint(model, arguments.checkpoint)
    load_checkpoint(model, arguments.checkpoint)
    pixels = next(data.search.images.read([data.search.positions]))
    scored = replace(data.search, images=InMemory(pixels), positions=torch.arange(len(pixels)))
    return model.eval(), replace(data, search=scored)


def problem(arguments: Namespace) -> tuple[TrainedModel, SearchSpace]:
    """Return a trained network and what is searched: channel counts within a share ``macs`` of its MACs."""
    model, data = load(arguments)
    trained = make_trained_model(model, data, PruningChoices(keep_blocks=True))  # the other way knows channels only
    macs = network_costs(trained.network, Cost("latency_ms", []), 0).macs
    return trained, SearchSpace(search_steps(trained), macs, arguments.macs * macs(trained.network.original))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--side", type=int, help="pixels to which images are enlarged")
    parser.add_argument("--macs", type=float, default=0.5, help="budget, a share of the original's")
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--strategy", default="ddpg")
    arguments = parser.parse_args()
    trained, space = problem(arguments)
    data, macs = trained.data, space.cost
    start = time.perf_counter()
    pruner = make_pruner(trained, seed=0)
    middle = time.perf_counter()
    ours = EarlyDropping(PartScorer(data.search), space, pruner.pruned, trained.model, CANDIDATES)
    images = len(ours.sample)
    once = f"{middle - start:.1f} s, and {time.perf_counter() - middle:.1f} s for the sample of {images} images"
    print(f"statistics, once: ours {once}", end=", ", flush=True)
    start = time.perf_counter()
    fresh = Fresh(trained, data.train.first(CALIBRATION_IMAGES, 0)[0])
    print(f"fresh {time.perf_counter() - start:.1f} s", flush=True)

    strategy = build_strategy(arguments.strategy, space, seed=0, episodes=arguments.episodes)
    reward, seen = find_reward("resource"), []
    for _ in range(arguments.episodes):
        policy = dict(strategy.ask())
        start = time.perf_counter()
        score = ours.score(policy)
        ours.recall(policy, score)
        middle = time.perf_counter()
        reference = fresh(policy)
        seen.append((policy, score, reference, middle - start, time.perf_counter() - middle))
        strategy.tell(policy, Result(score.accuracy, reward(score.accuracy, macs(policy), "macs"), macs(policy)))
    _print(seen, pruner, data)
    whole = [each for each in seen if each[1].images == images < len(data.search)]
    if whole:
        _print_sample(ours, sorted(whole, key=lambda each: -each[1].accuracy)[:BEST])


def _print(seen: list[tuple[Policy, Score, float, float, float]], pruner: Pruner, data: Data) -> None:
    mine, others = (float(np.mean([each[column] for each in seen])) for column in (3, 4))
    print(f"an episode, mean of {len(seen)}: ours {mine:.2f} s, fresh {others:.2f} s: {others / mine:.1f} times faster")
    images = [each[1].images or 0 for each in seen]
    print(f"images an episode: ours {np.mean(images):.0f} ({min(images)} to {max(images)}), fresh {len(data.search)}")
    for name, column in (("ours", lambda each: each[1].accuracy), ("fresh", lambda each: each[2])):
        best = max(seen, key=column)
        accuracy = evaluate(pruner.pruned(best[0], thorough=True), data.test)
        print(f"chosen by {name:5} (scored {column(best):.2%}): {accuracy:.2%} on the test set when reconstructed")


def _print_sample(ours: EarlyDropping, best: list[tuple[Policy, Score, float, float, float]]) -> None:
    """Print how far the sample's scores are from those of all images; see scored_sample.py."""
    off = [abs(score.accuracy - ours.scorer(ours.prune(policy))) for policy, score, *_ in best]
    images = f"{ours.images} of {len(ours.scorer.part)} images"
    print(f"scores of the best {len(best)} on {images}: {np.mean(off):.2%} off on average")


if __name__ == "__main__":
    main()
