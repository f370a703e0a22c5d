"""NetAdapt's search (arXiv:1804.03230): down to the budget in equal steps, each where it hurts least."""

from __future__ import annotations

import numpy as np

from amc_hw.budget.bounds import Bounds
from amc_hw.policy import Policy
from amc_hw.search.moves import best, largest_uniform, shrunk, varied
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Result, Strategy

MOST_STEPS = 20
_ROUNDING = 1e-9  # of the share, so that equal steps end where whole channels do


class GreedyStrategy(Strategy):
    """Begins with the original network; a step tries every group alone and keeps the reduction that loses least.

    Each step lowers the cost by the same amount, and of every group the largest choice is tried that does so
    (NetAdapt, algorithm 1, without its short fine-tune). The policies on the way are over the budget. There
    are as many steps as the planned episodes allow. The first episode is the uniform policy, so that a search
    that is cut short has one that fits; those after the last step vary the best policy so far.
    """

    def __init__(self, space: SearchSpace, seed: int, episodes: int) -> None:
        self.space = space
        self.random = np.random.default_rng(seed)
        self.policy = dict(space.original)
        _, uniform = largest_uniform(space.choices, space.bounds)
        self.candidates: list[dict[str, int]] = [dict(uniform)]
        self.scores: list[tuple[float, dict[str, int]]] = []
        self.best: tuple[float, dict[str, int]] | None = None
        steps = min(MOST_STEPS, max(1, (episodes - 1) // len(space.steps)))
        first, last = space.share_used(space.original), self._least_share()
        self.targets = [first + (last - first) * (step + 1) / steps for step in range(steps)]
        self.down = 0

    def ask(self) -> Policy:
        """Return the next candidate of the step, or of the refinement that follows the last."""
        while not self.candidates and self.down < len(self.targets):
            last = self.down + 1 == len(self.targets)
            self.candidates = self._reductions(self.targets[self.down], last)
            self.down += 1
        if not self.candidates:
            best = self.policy if self.best is None else self.best[1]
            self.candidates = [varied(best, self.space, self.random, groups=2, notches=1)]
        return self.candidates[0]

    def tell(self, policy: Policy, result: Result) -> None:
        """Take the best candidate once all of a step are scored."""
        candidate = self.candidates.pop(0)
        if self.space.keeps(candidate) and (self.best is None or result.reward > self.best[0]):
            self.best = (result.reward, candidate)
        if self.down:
            self.scores.append((result.accuracy, candidate))
        if not self.candidates and self.scores:
            self.policy = max(self.scores, key=lambda score: score[0])[1]
            self.scores = []

    def _reductions(self, target: float, last: bool) -> list[dict[str, int]]:
        """Return the policy with each group alone reduced until the target is met, where that can be."""
        if self.space.share_used(self.policy) <= target and (not last or self.space.keeps(self.policy)):
            return []
        found = []
        for step in self.space.steps:
            for count in reversed(step.choices[: step.choices.index(self.policy[step.group])]):
                smaller = {**self.policy, step.group: count}
                if self.space.share_used(smaller) <= target + _ROUNDING and (not last or self.space.keeps(smaller)):
                    found.append(smaller)
                    break
        if last and not found and self.space.bounds is not None:
            return [shrunk(self.policy, self.space.bounds, best(lambda move: move.change))]
        return found

    def _least_share(self) -> float:
        """Return where the steps end: at the budget, or without one at the cheapest policy."""
        if self.space.bounds is not None:
            return 1.0
        return self.space.share_used(Bounds(self.space.cost, self.space.choices, 1e6 * self.space.original_cost).floor)
