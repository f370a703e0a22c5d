"""AMC's agent: deep deterministic policy gradient (arXiv:1509.02971) as in arXiv:1802.03494, section 3.2."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Hyperparameters:
    """AMC's values; ``warmup`` episodes are random, then the noise decays by ``noise_decay`` an episode."""

    warmup: int = 100
    hidden: int = 300
    actor_rate: float = 1e-4
    critic_rate: float = 1e-3
    tau: float = 0.01
    gamma: float = 1.0
    batch: int = 64
    replay_episodes: int = 100
    noise: float = 0.5
    noise_decay: float = 0.95
    baseline_rate: float = 0.5


class Actor(nn.Module):
    """State to keep ratio in 0..1."""

    def __init__(self, states: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = _linear(states, hidden, generator)
        self.second = _linear(hidden, hidden, generator)
        self.action = _linear(hidden, 1, generator)

    def forward(self, state: Tensor) -> Tensor:
        """Return actions (batch, 1) for states (batch, states)."""
        return torch.sigmoid(self.action(torch.relu(self.second(torch.relu(self.first(state))))))


class Critic(nn.Module):
    """State and action to the sum of the rewards to come."""

    def __init__(self, states: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.state = _linear(states, hidden, generator)
        self.action = _linear(1, hidden, generator)
        self.second = _linear(hidden, hidden, generator)
        self.q = _linear(hidden, 1, generator)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Return values (batch, 1) for states (batch, states) and actions (batch, 1)."""
        q: Tensor = self.q(torch.relu(self.second(torch.relu(self.state(state) + self.action(action)))))
        return q


class Replay:
    """The latest transitions (state, action, reward, next state, whether one follows), as rows of float32."""

    def __init__(self, capacity: int, states: int) -> None:
        self.states = states
        self.rows = np.zeros((capacity, 2 * states + 3), dtype=np.float32)
        self.added = 0

    def __len__(self) -> int:
        """Return how many transitions are held."""
        return min(self.added, len(self.rows))

    def add(self, state: Array, action: float, reward: float, next_state: Array, *, last: bool) -> None:
        """Add a transition, in place of the oldest when full."""
        self.rows[self.added % len(self.rows)] = (*state, action, reward, *next_state, not last)
        self.added += 1

    def sample(self, size: int, random: np.random.Generator) -> tuple[Tensor, ...]:
        """Return ``size`` different transitions, or all where there are fewer: columns (batch, width)."""
        chosen = random.choice(len(self), min(size, len(self)), replace=False)
        columns = torch.split(torch.from_numpy(self.rows[chosen]), [self.states, 1, 1, self.states, 1], dim=1)
        return tuple(columns)


class Agent:
    """Actor and critic, their slowly following targets, the replay and the moving baseline of the rewards."""

    def __init__(self, states: int, steps: int, seed: int, parameters: Hyperparameters) -> None:
        self.parameters = parameters
        self.random = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        self.actor = Actor(states, parameters.hidden, generator)
        self.critic = Critic(states, parameters.hidden, generator)
        self.target_actor = deepcopy(self.actor)
        self.target_critic = deepcopy(self.critic)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), parameters.actor_rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), parameters.critic_rate, fused=True)
        self.replay = Replay(parameters.replay_episodes * steps, states)
        self.baseline: float | None = None

    def act(self, state: Array, episode: int) -> float:
        """Return an action: random while warming up, then the actor's with truncated normal noise."""
        if episode < self.parameters.warmup:
            return float(self.random.uniform())
        with torch.no_grad():
            mean = self.actor(torch.from_numpy(state)).item()
        sigma = self.parameters.noise * self.parameters.noise_decay ** (episode - self.parameters.warmup)
        return truncated_normal(mean, sigma, self.random)

    def remember(self, states: list[Array], actions: list[float], reward: float) -> None:
        """Add an episode: T + 1 states and T executed actions; the final reward goes on every transition."""
        for t, action in enumerate(actions):
            self.replay.add(states[t], action, reward, states[t + 1], last=t + 1 == len(actions))

    def learn(self, states: list[Array], actions: list[float], reward: float, episode: int) -> None:
        """Remember an episode and, after the warm-up, update once for each of its transitions."""
        self.remember(states, actions, reward)
        if episode >= self.parameters.warmup:
            for _ in actions:
                self.update()

    def advantages(self, state: Tensor, reward: Tensor) -> Tensor:
        """Move the baseline towards the batch's mean, and return the rewards (batch, 1) less it."""
        mean = reward.mean().item()
        if self.baseline is None:
            self.baseline = mean
        self.baseline += self.parameters.baseline_rate * (mean - self.baseline)
        return reward - self.baseline

    def update(self) -> None:
        """Fit the critic to one batch, move the actor uphill on it, and let the targets follow."""
        state, action, reward, next_state, follows = self.replay.sample(self.parameters.batch, self.random)
        advantage = self.advantages(state, reward)
        with torch.no_grad():
            next_q = self.target_critic(next_state, self.target_actor(next_state))
            y = advantage + self.parameters.gamma * follows * next_q
        _step(self.critic_optimizer, functional.mse_loss(self.critic(state, action), y), self.critic)
        _step(self.actor_optimizer, -self.critic(state, self.actor(state)).mean(), self.actor)
        _follow(self.target_actor, self.actor, self.parameters.tau)
        _follow(self.target_critic, self.critic, self.parameters.tau)


def truncated_normal(mean: float, sigma: float, random: np.random.Generator) -> float:
    """Draw from a normal distribution cut to 0..1 by rejection; the mean has to be inside."""
    while True:
        drawn = random.normal(mean, sigma)
        if 0.0 <= drawn <= 1.0:
            return float(drawn)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with torch's usual distribution of weights, drawn from ``generator``."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
    return layer


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, network: nn.Module) -> None:
    """Take one step down the gradient of ``loss`` for ``network`` alone: the actor's leaves the critic be."""
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()


def _follow(target: nn.Module, source: nn.Module, tau: float) -> None:
    """Move the target's weights by ``tau`` of the way to the source's."""
    pairs: Iterable[tuple[Tensor, Tensor]] = zip(target.parameters(), source.parameters(), strict=True)
    with torch.no_grad():
        for slow, fast in pairs:
            slow.lerp_(fast, tau)
