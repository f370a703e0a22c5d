"""How operators deviate from their shares, learned from the times of whole networks: an additive Gaussian process.

A share is a formula. What the formula misses (caches that overflow, counts of channels that a kernel likes) is, for
every family, a smooth function of its channels' logarithms, and for every kind of operator another of where a count
lies in its tile. Both have a Gaussian prior around zero, as parts of the share. Only sums over whole networks were
seen; those are Gaussian, too, so that the functions follow in closed form (Rasmussen and Williams 2006, chapter 2;
Duvenaud et al. 2011, arXiv:1112.4394). How smooth and how large they are is decided by the likelihood.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from amc_hw.latency.families import kind_of
from amc_hw.latency.share import Deviation, Deviations, Floats, Share, Totals

LENGTHS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Differences of logarithms of channels over which a family's function changes."""
AMPLITUDES = (0.05, 0.1, 0.2)
PERIODS = (8, 16, 32, 64)
NOISES = (0.005, 0.01, 0.02)
"""Standard deviations, as parts of the share and of a network's time."""

Key = tuple[str, int, int]


class Operators:
    """The operators of whole networks, each family's by itself.

    Args:
        networks: the family and the channels of each operator of every network.
        shares: of each family.
        base_us: the networks' times by these and a constant.
    """

    def __init__(self, networks: Sequence[Sequence[Key]], shares: Mapping[str, Share], base_us: Floats) -> None:
        self.count = len(networks)
        places: dict[str, dict[tuple[int, int], int]] = {}
        for network in networks:
            for family, c_in, c_out in network:
                own = places.setdefault(family, {})
                own.setdefault((c_in, c_out), len(own))
        self.channels = {family: np.array([*own], float) for family, own in places.items()}
        uses = {family: np.zeros((self.count, len(own))) for family, own in places.items()}
        for row, network in enumerate(networks):
            for family, c_in, c_out in network:
                uses[family][row, places[family][c_in, c_out]] += 1
        # What each operator is of its network's time.
        self.parts = {
            family: uses[family] * shares[family].predict_us(*own.T) / base_us[:, None]
            for family, own in self.channels.items()
        }

    def smooth(self, length: float) -> Floats:
        """Return the covariance (networks x networks) of what the families' functions give, of unit variance."""
        found = np.zeros((self.count, self.count))
        for family, own in self.channels.items():
            found += self.parts[family] @ _alike(own, own, length) @ self.parts[family].T
        return found

    def periodic(self, period: int) -> Floats:
        """Return the covariance (networks x networks) of what the kinds' functions give, of unit variance."""
        sums = self.by_phase(np.eye(self.count), period).values()
        return np.asarray(sum(each @ each.T for each in sums))

    def by_phase(self, rows: Floats, period: int) -> dict[str, Floats]:
        """Return weighted sums (rows x places in a tile) over networks (rows x networks), for every kind."""
        found: dict[str, Floats] = {}
        for family, own in self.channels.items():
            sums = found.setdefault(kind_of(family), np.zeros((len(rows), period)))
            np.add.at(sums.T, own[:, 1].astype(int) % period, (rows @ self.parts[family]).T)
        return found


def _alike(one: Floats, other: Floats, length: float) -> Floats:
    """Return the squared exponential kernel of two arrays of channels (operators x 2)."""
    apart = np.log(one)[:, None] - np.log(other)[None]
    return np.asarray(np.exp(-np.square(apart).sum(-1) / (2 * length**2)))


def learn_deviations(operators: Operators, us: Floats, base_us: Floats) -> tuple[Deviations, Floats]:
    """Learn the functions that explain best by how much networks are off.

    Args:
        operators: of the networks.
        us: their measured times in microseconds.
        base_us: their times by the shares.

    Returns:
        The functions, and the covariance (networks x networks) that they are of, without noise.
    """
    off = us / base_us - 1
    smooth = {length: operators.smooth(length) for length in LENGTHS}
    periodic = {period: operators.periodic(period) for period in PERIODS}
    best, weights, least = None, off, np.inf
    for length, amplitude, period, step, noise in itertools.product(LENGTHS, AMPLITUDES, PERIODS, AMPLITUDES, NOISES):
        covariance = amplitude**2 * smooth[length] + step**2 * periodic[period]
        factor = cho_factor(covariance + noise**2 * np.eye(len(off)))
        solved = cho_solve(factor, off)
        unlikely = off @ solved / 2 + np.log(np.diag(factor[0])).sum()
        if unlikely < least:
            least, weights, best = unlikely, solved, (length, amplitude, period, step, noise)
    assert best is not None
    length, amplitude, period, step, noise = best
    told = Deviations(
        length=length,
        amplitude=amplitude,
        period=period,
        step=step,
        noise=noise,
        base_us=base_us.tolist(),
        weights=weights.tolist(),
    )
    return told, amplitude**2 * smooth[length] + step**2 * periodic[period]


def predicted_off(covariance: Floats, off: Floats, known: Floats, noise: float) -> Floats:
    """Return by how much all networks are off, as those that are known (a mask) tell it."""
    inside = covariance[np.ix_(known, known)] + noise**2 * np.eye(int(known.sum()))
    return np.asarray(covariance[:, known] @ np.linalg.solve(inside, off[known]))


@dataclass(frozen=True)
class Deviating:
    """A share with what its family deviates from it.

    Attributes:
        share: the formula.
        length: see `Deviations`.
        known: channels (operators x 2) of the family in the networks that were measured.
        weights: of each of those.
        by_phase: what the kind's function is at each place in a tile.
    """

    share: Share
    length: float
    known: Floats
    weights: Floats
    by_phase: Floats

    @property
    def tile(self) -> int:
        """The step of the staircase in output channels."""
        return self.share.tile

    def predict_us(self, c_in: Floats, c_out: Floats) -> Floats:
        """Return the latency in microseconds for arrays of channel counts."""
        smooth = _alike(np.stack([c_in, c_out], axis=1), self.known, self.length) @ self.weights
        off = smooth + self.by_phase[c_out.astype(int) % len(self.by_phase)]
        return np.asarray(self.share.predict_us(c_in, c_out) * np.maximum(0.0, 1 + off))

    def covers(self, c_in: int, c_out: int) -> bool:
        """Tell whether it answers for channel counts: the formula does for all."""
        return True

    def carried(self) -> Deviation:
        """Return the deviations as a table of another device keeps them."""
        return Deviation(
            family=self.share.family,
            length=self.length,
            channels=self.known.astype(int).tolist(),
            weights=self.weights.tolist(),
            by_phase=self.by_phase.tolist(),
        )


def _carried(told: Deviation, share: Share) -> Deviating:
    known, by_phase = np.array(told.channels, float).reshape(-1, 2), np.array(told.by_phase)
    return Deviating(share, told.length, known, np.array(told.weights), by_phase)


def surfaces_of(totals: Totals) -> Mapping[str, Share | Deviating]:
    """Return what each family costs by whole networks that were measured."""
    shares = {share.family: share for share in totals.shares}
    told = totals.deviations
    if told is None:
        return shares | {each.family: _carried(each, shares[each.family]) for each in totals.carried}
    networks = [totals.operators(network) for network in totals.networks]
    operators = Operators(networks, shares, np.array(told.base_us))
    by_phase = operators.by_phase(np.array([told.weights]), told.period)
    return {
        family: Deviating(
            share,
            told.length,
            operators.channels[family],
            told.amplitude**2 * (np.array(told.weights) @ operators.parts[family]),
            told.step**2 * by_phase[kind_of(family)][0],
        )
        for family, share in shares.items()
    }
