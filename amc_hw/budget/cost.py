"""The cost of a policy (latency, MACs, parameters or bytes): a sum of terms that each depend on few groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from amc_hw.policy import Metric, Policy


@dataclass(frozen=True)
class Term:
    """One summand: ``value`` maps the channels of ``groups``, in that order, to a cost."""

    groups: tuple[str, ...]
    value: Callable[[tuple[int, ...]], float]


class Cost:
    """``constant`` plus the sum of the terms; each term's values are computed once per channel counts.

    Terms of the same groups are one: a network has hundreds of operators, and a few dozen combinations of groups.
    Sums are exact (``math.fsum``), so a total never depends on the order in which its parts were added:
    what the bounds allowed is what the finished policy costs.

    Args:
        metric: what is counted; its unit is milliseconds, MACs, parameters or bytes.
        terms: the summands; they need not be monotone in the channels.
        constant: the cost of everything that no channel group changes.
        device: whose latency it is, where there are several; else "".
    """

    def __init__(self, metric: Metric, terms: Iterable[Term], constant: float = 0.0, device: str = "") -> None:
        self.metric: Metric = metric
        self.device = device
        together: dict[tuple[str, ...], list[Term]] = {}
        for term in terms:
            together.setdefault(term.groups, []).append(term)
        self.terms = tuple(Term(groups, _sum(alike)) for groups, alike in together.items())
        self.constant = constant
        self._known: list[dict[tuple[int, ...], float]] = [{} for _ in self.terms]
        touching: dict[str, list[int]] = {}
        for index, term in enumerate(self.terms):
            for group in dict.fromkeys(term.groups):
                touching.setdefault(group, []).append(index)
        self._touching = {group: tuple(indices) for group, indices in touching.items()}

    def __call__(self, policy: Policy) -> float:
        """Return the cost of a policy that names every group of the terms."""
        return math.fsum((*self.values(policy), self.constant))

    @property
    def name(self) -> str:
        """What it is called in a log: its metric, with the device where there are several."""
        return f"{self.metric} of {self.device}" if self.device else self.metric

    def of_device(self, device: str) -> Cost:
        """Return the same cost as that of one device of several."""
        return Cost(self.metric, self.terms, self.constant, device)

    def times(self, factor: float) -> Cost:
        """Return the same cost, all of it times a factor."""
        terms = [Term(term.groups, _times(term.value, factor)) for term in self.terms]
        return Cost(self.metric, terms, factor * self.constant, self.device)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that the cost depends on."""
        return tuple(self._touching)

    def touching(self, group: str) -> tuple[int, ...]:
        """Return the positions in ``terms`` of those that depend on ``group``."""
        return self._touching.get(group, ())

    def value(self, index: int, policy: Policy) -> float:
        """Return what the term at position ``index`` adds for ``policy``."""
        term, known = self.terms[index], self._known[index]
        channels = tuple([policy[group] for group in term.groups])
        found = known.get(channels)
        if found is None:
            found = known[channels] = term.value(channels)
        return found

    def values(self, policy: Policy) -> list[float]:
        """Return what every term adds for ``policy``, in the order of ``terms``."""
        return [self.value(index, policy) for index in range(len(self.terms))]


def _sum(terms: Sequence[Term]) -> Callable[[tuple[int, ...]], float]:
    return lambda channels: math.fsum(float(term.value(channels)) for term in terms)


def _times(value: Callable[[tuple[int, ...]], float], factor: float) -> Callable[[tuple[int, ...]], float]:
    return lambda channels: factor * value(channels)


def format_cost(metric: Metric, value: float) -> str:
    """Return a cost for people: ``1.31 ms``, ``40.9 M MACs``, ``270 k parameters``, ``500 kB``."""
    if metric == "latency_ms":
        return f"{value:.4g} ms"
    unit = {"macs": "MACs", "params": "parameters", "size_bytes": "B"}[metric]
    for scale, prefix in ((1e9, "G "), (1e6, "M "), (1e3, "k ")):
        if abs(value) >= scale:
            return f"{value / scale:.4g} {prefix.strip() if unit == 'B' else prefix}{unit}"
    return f"{value:.4g} {unit}"
