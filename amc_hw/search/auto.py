"""The default: begin with the policies that cost nothing to find, then let a model of the scores choose the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amc_hw.policy import Policy
from amc_hw.search.knapsack import Importance, KnapsackStrategy
from amc_hw.search.moves import fitted, largest_uniform, varied
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Result, Strategy
from amc_hw.search.surrogate import Surrogate, fit_surrogate

Array = NDArray[np.float64]


class AutoStrategy(Strategy):
    """Bayesian optimisation: the next policy is the one of which most is hoped by all scores so far.

    First come the uniform policy, those of the knapsack, and a few that chance draws: by doubting the importances, or
    around the uniform one. Then every episode fits a `Surrogate` to the logarithms of the losses (the rewards'
    negatives), with the importance that a policy gives up for a hint, and asks for the policy with the lowest
    confidence bound (Srinivas et al., arXiv:0912.3995), found by local search among policies that keep the budget and
    use it up. How much the bound trusts the unknown goes round in a circle, so that a search both settles and looks
    about, and fades towards the last planned episode.

    Args:
        space: what is searched.
        seed: where all its chance comes from.
        episodes: how many are planned; a tenth at most, and no more than there are groups, are drawn by chance.
        importance: of every group's channels, see `KnapsackStrategy`.
    """

    curiosity = (0.0, 1.0, 2.0)
    spread = 0.2
    left_out = 0.25  # of the blocks that can be, in the random policies
    newest = 400  # episodes that the model is fitted to, besides the best ones: its time grows with their cube
    parents = 4
    children = 40
    generations = 6
    nearest = 40  # policies of other searches, by cost, that are made to fit
    begun_with = 4  # of these, by what the model thinks of them

    def __init__(self, space: SearchSpace, seed: int, episodes: int, importance: Importance | None) -> None:
        self.space = space
        self.random = np.random.default_rng(seed)
        self.knapsack = KnapsackStrategy(space, seed, importance)
        drawn = min(len(space.steps), episodes // 10)
        _, uniform = largest_uniform(space.choices, space.bounds)
        openers = [uniform, KnapsackStrategy(space, seed).ask()]
        openers += [self.knapsack.ask() for _ in range(1 + drawn // 2)]
        self.planned = [dict(uniform)]
        for policy in (fitted(opener, space.bounds, self.random) for opener in openers):
            if policy not in self.planned:
                self.planned.append(policy)
        self.planned += [self._around(uniform) for _ in range(drawn - drawn // 2)]
        self.episodes = episodes
        self.sizes = np.array([step.choices[-1] for step in space.steps], dtype=np.float64)
        self.losses: dict[tuple[int, ...], float] = {}
        self.recalled: dict[tuple[int, ...], float] = {}
        self.asked = 0

    def ask(self) -> Policy:
        """Return the next planned policy, then the one that the model hopes most of."""
        if self.asked < len(self.planned):
            return self.planned[self.asked]
        left = max(0.0, 1.0 - self.asked / self.episodes)
        return self._promising(left * self.curiosity[self.asked % len(self.curiosity)])

    def tell(self, policy: Policy, result: Result) -> None:
        """Remember the score."""
        self.losses[tuple(policy.values())] = _logarithm(result)
        self.asked += 1

    def recall(self, known: Sequence[tuple[Policy, Result]]) -> None:
        """Let the model learn other searches' scores, too, and begin with what it then thinks best of their policies.

        They are made to fit first. The uniform policy stays the first of all; what the others are drawn for is known.
        """
        losses = {tuple(policy.values()): _logarithm(result) for policy, result in known}
        self.recalled = {key: losses[key] for key in sorted(losses, key=self._distance)[: self.newest]}
        if not self.recalled:
            return
        policies = [self._policy(key) for key in list(self.recalled)[: self.nearest]]
        if self.space.bounds is not None:
            policies = [self.knapsack.fitted(policy) for policy in policies]
        keys = list(dict.fromkeys(tuple(policy.values()) for policy in policies))
        mean, _ = self._model().predict(*self._described(keys))
        uniform, best = self.planned[0], [self._policy(keys[index]) for index in np.argsort(mean, kind="stable")]
        self.planned = [uniform, *[policy for policy in best if policy != uniform][: self.begun_with]]

    def _distance(self, key: tuple[int, ...]) -> float:
        """Return how far a policy is from using up what this search may spend, as a logarithm."""
        return abs(math.log(max(self.space.share_used(self._policy(key)), 1e-9)))

    def _around(self, policy: Policy) -> dict[str, int]:
        """Return a random policy around one; without a budget its size is drawn, too."""
        shift = 0.0 if self.space.bounds else self.random.uniform(-1.0, 0.0)
        drawn = {}
        for step in self.space.steps:
            if not step.choices[0] and self.random.random() < self.left_out:
                drawn[step.group] = 0
                continue
            wanted = policy[step.group] + step.choices[-1] * self.random.normal(shift, self.spread)
            drawn[step.group] = step.choices[int(np.abs(np.array(step.choices) - wanted).argmin())]
        return fitted(drawn, self.space.bounds, self.random)

    def _promising(self, curiosity: float) -> Policy:
        """Search locally for the lowest confidence bound, from the best policies known."""
        ranked = sorted(self.losses, key=lambda key: self.losses[key])
        surrogate = self._model(ranked)
        parents: list[tuple[float, Policy]] = [(math.inf, self._policy(key)) for key in ranked[: self.parents]]
        found: dict[tuple[int, ...], tuple[float, Policy]] = {}

        def look_at(policies: Sequence[Policy]) -> None:
            keys = {tuple(policy.values()): policy for policy in policies}
            new = {key: policy for key, policy in keys.items() if key not in self.losses and key not in found}
            if new:
                mean, deviation = surrogate.predict(*self._described(list(new)))
                bounds = mean - curiosity * deviation
                found.update({key: (float(b), new[key]) for key, b in zip(new, bounds, strict=True)})

        for generation in range(self.generations):
            look_at([self._child(parents[i % len(parents)][1], generation) for i in range(self.children)])
            parents = sorted(found.values(), key=lambda bound_policy: bound_policy[0])[: self.parents] or parents
        if not found:  # every neighbour was scored
            look_at([self._around(self.planned[0]) for _ in range(self.children)])
        return min(found.values(), key=lambda bound_policy: bound_policy[0], default=parents[0])[1]

    def _model(self, ranked: Sequence[tuple[int, ...]] = ()) -> Surrogate:
        """Return the model of the best and the newest scores, and of those of other searches."""
        losses = {**self.recalled, **self.losses}
        learned = list(dict.fromkeys([*self.recalled, *ranked[: self.newest], *list(self.losses)[-self.newest :]]))
        return fit_surrogate(*self._described(learned), np.array([losses[key] for key in learned]))

    def _child(self, parent: Policy, generation: int) -> dict[str, int]:
        """Change one to four groups, by up to three notches at first and by single ones in the end."""
        groups = int(self.random.integers(1, 5))
        return varied(parent, self.space, self.random, groups, notches=3 if 2 * generation < self.generations else 1)

    def _described(self, keys: Sequence[tuple[int, ...]]) -> tuple[Array, Array]:
        """Return policies' keep ratios (policies, groups) and the logarithms of the importance lost (policies,)."""
        lost = np.array([self.knapsack.lost(self._policy(key)) for key in keys])
        return np.array(keys) / self.sizes, np.log(lost + 1e-3)

    def _policy(self, key: tuple[int, ...]) -> dict[str, int]:
        return {step.group: channels for step, channels in zip(self.space.steps, key, strict=True)}


def _logarithm(result: Result) -> float:
    """Return the logarithm of a loss, the negative of a reward."""
    return math.log(max(-result.reward, 1e-4))
