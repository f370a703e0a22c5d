"""How well the sample of a search tells its policies apart: its scores against those of the whole validation split.

    amc-hw compress --model resnet20 --checkpoint resnet20.pt --data npz:DIR --macs 0.5x --epochs 0 --run runs/r20
    python benchmarks/scored_sample.py --run runs/r20

The best policies of a finished run are scored on all images. Then samples are drawn as
the search draws its own, guided by the original and by the uniform policy of as many MACs as the best one, and as many
images by chance. Prints how far the accuracies of both are off, and how far the differences between policies, which are
what a search goes by (roots of the mean squares).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from named_network import run_program
from torch import Tensor

from amc_hw.budget.cost import Cost
from amc_hw.budget.network_costs import network_costs
from amc_hw.cli.terminal import progress_bar
from amc_hw.errors import UsageError
from amc_hw.pipeline.begin import open_trained
from amc_hw.pipeline.steps import search_steps
from amc_hw.pipeline.trained import TrainedModel, make_pruner
from amc_hw.policy import Policy
from amc_hw.runs.folder import RunFolder
from amc_hw.search.sample import LEAST, Sample, draw_sample
from amc_hw.search.scoring import EarlyDropping, PartScorer, Sampling
from amc_hw.search.space import SearchSpace
from amc_hw.search.study import read_study

DRAWS = 100


def looked_at(trained: TrainedModel, policies: list[Policy], seed: int, importance: str) -> tuple[Tensor, Tensor]:
    """Return the margins of the guides (2, images), and which images the policies get right (policies, images)."""
    pruner, scorer = make_pruner(trained, seed, importance), PartScorer(trained.data.search)
    macs = network_costs(trained.network, Cost("latency_ms", []), 0).macs
    space = SearchSpace(search_steps(trained), macs, macs(policies[0]))
    everything, rights = torch.arange(len(scorer.part)), []
    with progress_bar() as progress:
        sampling = Sampling(progress)
        margins = EarlyDropping(scorer, space, pruner.pruned, trained.start, 1, sampling).guide_margins()
        for number, policy in enumerate(policies):
            progress("scoring on all images", number, len(policies))
            rights.append(scorer.right(scorer.prepared(pruner.pruned(policy)), everything))
    return margins, torch.stack(rights)


def by_chance(images: int, count: int, seed: int) -> Sample:
    """Return as many images, all of them as likely as the others."""
    drawn = torch.randperm(images, generator=torch.Generator().manual_seed(seed))[:count]
    return Sample(drawn, torch.ones(count, dtype=torch.float64))


def errors(samples: list[Sample], rights: Tensor) -> tuple[float, float]:
    """Return by how much samples' accuracies are off, and their differences between policies: roots of mean squares."""
    true = rights.double().mean(1)
    found = torch.tensor([[each.accuracy(right[each.positions]) for right in rights] for each in samples])
    off = found.double() - true
    return float(off.square().mean().sqrt()), float((off - off.mean(1, keepdim=True)).square().mean().sqrt() * 2**0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run whose search is finished")
    parser.add_argument("--policies", type=int, default=20)
    arguments = parser.parse_args()
    config, trained = open_trained(arguments.run)
    if len(trained.data.search) <= LEAST:
        raise UsageError(f"a search looks at all images where there are no more than {LEAST}; name a run of more.")
    best = read_study(RunFolder(arguments.run).episodes.path).top(arguments.policies)
    policies = [each.channels for each in best]
    margins, rights = looked_at(trained, policies, config.seed, config.importance)
    images = margins.shape[1]
    guided = [draw_sample(margins, seed) for seed in range(DRAWS)]
    chance = [by_chance(images, len(guided[0]), seed) for seed in range(DRAWS)]
    accuracies = rights.double().mean(1)
    print(
        f"{len(policies)} policies, {float(accuracies.min()):.2%} to {float(accuracies.max()):.2%} of {images} images"
    )
    print(f"| {len(guided[0])} images | accuracies off by | their differences off by |\n|---|---|---|")
    for name, samples in (("as a search draws them", guided), ("by chance", chance)):
        whole, apart = errors(samples, rights)
        print(f"| {name} | {100 * whole:.2f} points | {100 * apart:.2f} |")


if __name__ == "__main__":
    run_program(main)
