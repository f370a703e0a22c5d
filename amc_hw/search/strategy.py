"""What a strategy is: it asks for policies to score and is told the results, whoever scores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from amc_hw.policy import Policy


@dataclass(frozen=True)
class Result:
    """What a policy scored: accuracy in 0..1, the reward, and its cost in the unit of the space's metric."""

    accuracy: float
    reward: float
    cost: float


class Strategy(Protocol):
    """A deterministic function of its seed and of what it was told: a study resumes by telling it again.

    ``ask`` and ``tell`` alternate. Every policy asked for names every group, in network order. It keeps the
    budget, unless the strategy has to work its way down to it; the first one always does.
    """

    def ask(self) -> Policy:
        """Return the next policy to score."""

    def tell(self, policy: Policy, result: Result) -> None:
        """Take the result of the policy that was asked for last."""

    def recall(self, known: Sequence[tuple[Policy, Result]]) -> None:
        """Take what searches of the same network for other limits have scored, before the first policy is asked for.

        A reward here says nothing of this search's limits, which such a policy may not keep. Most have no use for it.
        """
        return

    def save(self, file: Path) -> None:
        """Write what was learned where another search can begin with it; most have nothing that would help one."""
        return
