"""How much longer operators take on one device than on another that it resembles, learned from a few networks.

An operator takes a factor times what it takes there, and a constant for each call. All operators share both, or those
of a kind do, or those of a family; ridge regression holds each factor to the common one, and each constant to nothing,
as firmly as it takes for the least error on networks that were left out of the fit. Both are non-negative, and errors
are relative (`amc_hw.latency.shares.fit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amc_hw.latency.families import kind_of
from amc_hw.latency.share import Floats
from amc_hw.latency.shares import WORTH, fit, mean_error

RIDGES = (1.0, 0.3, 0.1, 0.03)
"""Each is tried; a weaker one, and a finer group, must earn its place."""


@dataclass(frozen=True)
class Sample:
    """Operators that were measured together.

    Attributes:
        network: number of the network that they ran in.
        there_us: family of each operator, and its microseconds by the other device's table.
        us: what all of them take here.
    """

    network: int
    there_us: tuple[tuple[str, float], ...]
    us: float


@dataclass(frozen=True)
class Factors:
    """What each family's operators take: ``scale[family] * there_us + constant_us[family]``.

    Attributes:
        scale: factor of each family.
        constant_us: of each family, for every call.
        error: mean error of networks that were left out of the fit, a fraction.
    """

    scale: Mapping[str, float]
    constant_us: Mapping[str, float]
    error: float


def learn_factors(samples: Sequence[Sample]) -> Factors:
    """Learn the factors from samples of three networks at least, every one of a time over zero on both devices."""
    data = _Data(samples)
    best = data.left_out({}, None)
    chosen = data.factors({}, None, best)
    groups: list[dict[str, str]] = [{}, {f: kind_of(f) for f in data.families}, {f: f for f in data.families}]
    for group_of in groups:
        for ridge in RIDGES:
            if (error := data.left_out(group_of, ridge)) < WORTH * best:
                best, chosen = error, data.factors(group_of, ridge, error)
    return chosen


class _Data:
    """Samples as numbers, by family."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.families = sorted({family for sample in samples for family, _ in sample.there_us})
        place = {family: index for index, family in enumerate(self.families)}
        self.us = np.array([sample.us for sample in samples])
        self.networks = np.array([sample.network for sample in samples])
        self.there_us, self.calls = np.zeros((2, len(samples), len(self.families)))
        for row, sample in enumerate(samples):
            for family, us in sample.there_us:
                self.there_us[row, place[family]] += us
                self.calls[row, place[family]] += 1

    def left_out(self, group_of: Mapping[str, str], ridge: float | None) -> float:
        """Return the mean error on the sums of networks, each left out of the fit in turn."""
        sums, predicted = [], []
        for network in np.unique(self.networks):
            out = self.networks == network
            scale, constant_us = self._fitted(~out, group_of, ridge)
            sums.append(self.us[out].sum())
            predicted.append((self.there_us[out] @ scale + self.calls[out] @ constant_us).sum())
        return mean_error(np.array(predicted), np.array(sums))

    def factors(self, group_of: Mapping[str, str], ridge: float | None, error: float) -> Factors:
        """Return what is fitted to all samples, with the error of `left_out`."""
        scale, constant_us = self._fitted(np.ones(len(self.us), bool), group_of, ridge)
        return Factors(
            dict(zip(self.families, scale.tolist(), strict=True)),
            dict(zip(self.families, constant_us.tolist(), strict=True)),
            error,
        )

    def _fitted(
        self, rows: NDArray[np.bool_], group_of: Mapping[str, str], ridge: float | None
    ) -> tuple[Floats, Floats]:
        """Return every family's factor and constant; without a ridge one common factor and no constant."""
        there_us, calls, us = self.there_us[rows], self.calls[rows], self.us[rows]
        common = us.sum() / there_us.sum()
        if ridge is None:
            return np.full(len(self.families), common), np.zeros(len(self.families))
        groups = sorted({group_of.get(family, "") for family in self.families})
        member = np.array([[group_of.get(family, "") == group for group in groups] for family in self.families], float)
        # A constant is told as a share of the group's usual time, so that one ridge holds it and the factor alike.
        usual = (there_us @ member).sum(axis=0) / (calls @ member).sum(axis=0)
        features = np.hstack([there_us @ member, calls @ member * usual])
        prior = np.repeat([common, 0.0], len(groups))
        fitted = fit(features, us, prior, np.full(len(prior), ridge))
        scale, constant = fitted[: len(groups)], fitted[len(groups) :] * usual
        return member @ scale, member @ constant
