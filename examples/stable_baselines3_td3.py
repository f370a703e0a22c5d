"""Another agent in AMC's environment: TD3 of Stable-Baselines3, for a small network on scikit-learn's digits.

    pip install 'amc-hw[sb3]'
    python examples/stable_baselines3_td3.py --macs 0.5x --episodes 100

Prints the best policy that TD3 played, beside the uniform policy of the same budget. `CompressionEnv` is a gymnasium
environment like any other: one action in 0..1 for each channel group, and the reward at the end of the episode.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from amc_hw import Pruner, macs_cost, run_study, search_space, trace
from amc_hw.data.dataset import Data, load_data
from amc_hw.search.environment import CompressionEnv
from amc_hw.search.rewards import find_reward
from amc_hw.training.evaluation import evaluate
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe


def small_network() -> nn.Module:
    """Return four convolutions and a classifier; a network of yours goes here."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 16, 2), (16, 32, 2), (32, 32, 1), (32, 64, 2)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


STATISTICS = 1000
"""Images that the pruned networks' weights are fitted to."""
Accuracies = dict[tuple[int, ...], float]  # by the channels of a policy


def make_environment(model: nn.Module, data: Data, macs: str, seed: int) -> tuple[CompressionEnv, Accuracies]:
    """Return the environment of a trained network, and the accuracies of all policies that were played in it."""
    images, labels = data.train.first(STATISTICS, seed=seed)
    traced = trace(model, images[:1])
    pruner = Pruner(traced.model, traced.network, images, labels=labels)
    accuracies: Accuracies = {}

    def score(policy: Mapping[str, int]) -> float:
        key = tuple(policy.values())
        if key not in accuracies:
            accuracies[key] = evaluate(pruner.pruned(policy), data.search)
        return accuracies[key]

    space = search_space(traced, macs_cost(traced), macs)
    return CompressionEnv(space, score, find_reward("resource")), accuracies


def main(arguments: list[str] | None = None) -> None:
    """Train the network, then the agent, and print what it found."""
    from stable_baselines3 import TD3
    from stable_baselines3.common.noise import NormalActionNoise

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--macs", default="0.5x", help="budget: a share of the network's multiply-accumulates")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10, help="of training the network")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    torch.manual_seed(options.seed)
    model, data = small_network(), load_data("digits")
    train(model, data, Recipe(epochs=options.epochs, lr=0.05, batch_size=32), seed=options.seed)
    environment, accuracies = make_environment(model, data, options.macs, options.seed)
    steps = len(environment.space.steps)

    agent = TD3(
        "MlpPolicy",
        environment,
        gamma=1.0,  # the reward comes once, at the end
        buffer_size=100 * steps,
        batch_size=64,
        learning_starts=options.episodes // 4 * steps,  # random episodes until then
        train_freq=(1, "episode"),
        gradient_steps=steps,
        action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.2)),
        policy_kwargs={"net_arch": [300, 300]},
        seed=options.seed,
        device="cpu",
    )
    agent.learn(options.episodes * steps)

    found = max(accuracies, key=lambda policy: accuracies[policy])
    print(f"TD3, best of {options.episodes} episodes: {accuracies[found]:.2%} with {list(found)} channels")
    uniform = run_study(environment.space, environment.evaluate, strategy="uniform", episodes=1).best
    print(f"uniform: {uniform.accuracy:.2%} with {list(uniform.channels.values())} channels")


if __name__ == "__main__":
    main()
