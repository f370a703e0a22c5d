"""Which whole networks to time so that their totals tell the operators' shares apart.

Networks drawn evenly are much alike, but a design alone leaves out what no formula has: it likes the fewest and the
most channels best. So every second network is drawn evenly, and the others are chosen. Their candidates are drawn in
three ways: all groups at their fewest or most, all near one share, and a single group along its staircase while the
others stay. Of those, the one is taken next that the networks before it predict worst: the greedy D-optimal design of a
Bayesian linear model (Chaloner and Verdinelli 1995), a pivoted Cholesky decomposition of the candidates' covariance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from amc_hw.latency.share import sizes_at

CANDIDATES = 180
NOISE = 1e-4
"""Variance of a measured total, as a share of it, squared."""
READ, KEPT = 8.0, 2.0
"""Multiply-accumulates that take as long as a value read or written, and as a weight: for the design alone."""

Floats = NDArray[np.float64]
Operators = Sequence[tuple[str, int, int]]
"""The family and the channels of each operator of a network."""


def draw_candidates(choices: Mapping[str, Sequence[int]], random: np.random.Generator) -> list[dict[str, int]]:
    """Draw the `CANDIDATES` networks that a design chooses from, of three kinds in turn.

    The fewest or all in every group; about one share of all groups; and the original with one group changed.

    Args:
        choices: for every group its channel counts, ascending, the original's last.
        random: the generator.
    """
    original = {group: counts[-1] for group, counts in choices.items()}
    groups, found = list(choices), []
    for number in range(CANDIDATES):
        if number % 3 == 0:
            found.append({group: int(random.choice([counts[0], counts[-1]])) for group, counts in choices.items()})
        elif number % 3 == 1:
            share = random.uniform(0, 1)
            near = {group: share + random.normal(0, 0.15) for group in groups}
            found.append({g: counts[_place(near[g], len(counts))] for g, counts in choices.items()})
        else:
            group = groups[number // 3 % len(groups)]
            found.append({**original, group: int(random.choice(np.asarray(choices[group])))})
    return found


def _place(share: float, count: int) -> int:
    return round(min(1.0, max(0.0, share)) * (count - 1))


def choose(candidates: Sequence[Operators], measured: Sequence[Operators], count: int) -> list[int]:
    """Return the indices of those candidates that tell most beside the measured networks, the best one first."""
    features = _features([*measured, *candidates])
    covariance = features @ features.T
    chosen: list[int] = []
    for step in range(len(measured) + min(count, len(candidates))):
        variance = np.diag(covariance).copy()
        variance[: len(measured)] = -1.0
        variance[[index + len(measured) for index in chosen]] = -1.0
        best = step if step < len(measured) else int(np.argmax(variance))
        if step >= len(measured):
            chosen.append(best - len(measured))
        column = covariance[:, best]
        covariance = covariance - np.outer(column, column) / (column[best] + NOISE)
    return chosen


def _features(networks: Sequence[Operators]) -> Floats:
    """Return what each family's sizes weigh in a network's time (networks x 3 for each family), as shares of it."""
    families = sorted({family for network in networks for family, _, _ in network})
    place = {family: index for index, family in enumerate(families)}
    known: dict[tuple[str, int, int], Floats] = {}
    features = np.zeros((len(networks), len(families), 3))
    for row, network in enumerate(networks):
        for key in network:
            if key not in known:
                macs, read, written, kept = sizes_at(key[0], np.array([key[1]]), np.array([key[2]]), (1, 1))[0]
                known[key] = np.array([macs + KEPT * kept, READ * read, READ * written])
            features[row, place[key[0]]] += known[key]
    totals = features.sum(axis=(1, 2), keepdims=True)
    shares: Floats = (features / totals).reshape(len(networks), -1)
    return shares
