"""What each operator costs, learned from the times of whole networks alone.

Accelerators, and runtimes that compile a network into one kernel, tell no operator's time. A network's time is a
constant and the sum of its operators' shares. A share is a non-negative sum of the operator's sizes (multiply-
accumulates, values read, written and kept as weights) with its channels in whole tiles, which makes a staircase of it.

The sums are fitted in two steps, both by non-negative least squares on relative errors (Lawson and Hanson 1974) that
trusts a network the less the further off it is (Huber 1964). First all operators of a kind share their coefficients.
Then every family scales its own, held to the first answer by ridge regression: where the networks are silent, the
kind's stands. Operators that the runtime fuses come out at no time. The tiles and the strength of the ridge are those
with the least error on networks that were left out of the fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from amc_hw.latency.deviations import Operators, learn_deviations, predicted_off
from amc_hw.latency.families import kind_of
from amc_hw.latency.operators import MATMUL_KINDS
from amc_hw.latency.share import Deviations, Floats, Share, Tiles, sizes_at
from amc_hw.latency.table import PredictionError

TILES = (1, 4, 8, 16, 32, 64)
RIDGES = (0.01, 0.03, 0.1, 0.3)
FOLDS = 5
WORTH = 0.97
"""A wider tile, and coefficients of every family's own, must bring the error under this share of what it was."""
TUNING = 1.345
"""Deviations from which on a network counts for less (Huber)."""
ROUNDS = 3

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Total:
    """A whole network that was measured: its structure, (family, c_in, c_out) of its operators, and its time in us."""

    structure: str
    operators: tuple[Key, ...]
    us: float


@dataclass(frozen=True)
class Learned:
    """What whole networks tell: shares, how operators deviate from them, and errors on networks left out.

    Attributes:
        shares: one for each family.
        deviations: None where networks left out are predicted as well without.
        errors: by structure.
    """

    shares: list[Share]
    deviations: Deviations | None
    errors: dict[str, PredictionError]


def learn(totals: Sequence[Total]) -> Learned:
    """Learn every family's share from the times of whole networks, `FOLDS` of them at least."""
    data = _Data(totals)
    tiles = _find_tiles(data)
    plain = data.design(data.of_kinds(tiles))
    coefficients = fit(plain, data.us)
    left_out, chosen = _left_out(plain, data.us), coefficients
    parts, names = data.of_families(tiles, coefficients)
    own = data.design(parts)
    prior = np.concatenate([np.ones(len(names)), coefficients[len(data.kinds) * 4 :]])
    own_scales = False
    design: Floats = plain
    towards: tuple[Floats | None, Floats | None] = (None, None)
    best = WORTH * mean_error(left_out, data.us)
    for ridge in RIDGES:
        strength = np.concatenate([np.full(len(names), ridge), np.zeros(len(prior) - len(names))])
        predicted = _left_out(own, data.us, prior, strength)
        if (error := mean_error(predicted, data.us)) < best:
            best, left_out, own_scales = error, predicted, True
            chosen, design, towards = fit(own, data.us, prior, strength), own, (prior, strength)
    scales = dict(zip(names, chosen, strict=False)) if own_scales else {}
    shares = [data.share(family, tiles, coefficients, scales) for family in data.families]
    base_us = design @ chosen
    by_family = {share.family: share for share in shares}
    operators = Operators([total.operators for total in totals], by_family, base_us)
    told, covariance = learn_deviations(operators, data.us, base_us)
    with_them = _left_out(design, data.us, *towards, (covariance, told.noise))
    if mean_error(with_them, data.us) >= WORTH * mean_error(left_out, data.us):
        return Learned(shares, None, data.errors(left_out))
    return Learned(shares, told, data.errors(with_them))


class _Data:
    """Whole networks as numbers: which operators each has, and how large those are."""

    def __init__(self, totals: Sequence[Total]) -> None:
        self.us = np.array([total.us for total in totals])
        self.keys = sorted({key for total in totals for key in total.operators})
        self.families = list(dict.fromkeys(family for family, _, _ in self.keys))
        self.kinds = sorted({kind_of(family) for family in self.families})
        self._structures = [total.structure for total in totals]
        place = {key: index for index, key in enumerate(self.keys)}
        self._uses = np.zeros((len(totals), len(self.keys)))
        for row, total in enumerate(totals):
            for key in total.operators:
                self._uses[row, place[key]] += 1
        self._kind = np.array([self.kinds.index(kind_of(family)) for family, _, _ in self.keys])
        self._family = np.array([self.families.index(family) for family, _, _ in self.keys])
        self._sizes: dict[tuple[int, Tiles], Floats] = {}

    def sizes_of(self, kind: int, tiles: Tiles) -> Floats:
        """Return the sizes of a kind's operators (operators x 4), 0 for those of others."""
        if (kind, tiles) not in self._sizes:
            rows = np.zeros((len(self.keys), 4))
            for index in np.flatnonzero(self._kind == kind):
                family, c_in, c_out = self.keys[index]
                rows[index] = sizes_at(family, np.array([c_in]), np.array([c_out]), tiles)[0]
            self._sizes[kind, tiles] = rows
        return self._sizes[kind, tiles]

    def of_kinds(self, tiles: Mapping[int, Tiles]) -> Floats:
        """Return the sizes of all operators (operators x 4 for each kind)."""
        return np.hstack([self.sizes_of(kind, tiles[kind]) for kind in range(len(self.kinds))])

    def of_families(self, tiles: Mapping[int, Tiles], by_kind: Floats) -> tuple[Floats, list[tuple[str, int]]]:
        """Return each family's time by the kinds' coefficients, size by size, and which family and size they are."""
        columns, names = [], []
        for index, family in enumerate(self.families):
            kind = self.kinds.index(kind_of(family))
            parts = self.sizes_of(kind, tiles[kind]) * by_kind[4 * kind : 4 * kind + 4]
            for size in np.flatnonzero(parts[self._family == index].any(axis=0)):
                columns.append(np.where(self._family == index, parts[:, size], 0.0))
                names.append((family, int(size)))
        return np.array(columns).reshape(len(columns), len(self.keys)).T, names

    def design(self, of_operators: Floats) -> Floats:
        """Add up columns of operators over each network, and put a constant for each structure behind them."""
        structures = sorted(set(self._structures))
        constants = np.array([[own == each for each in structures] for own in self._structures], float)
        return np.hstack([self._uses @ of_operators, constants])

    def share(
        self, family: str, tiles: Mapping[int, Tiles], by_kind: Floats, scales: Mapping[tuple[str, int], float]
    ) -> Share:
        """Return a family's share: the kind's coefficients, each scaled by the family's own."""
        kind = self.kinds.index(kind_of(family))
        scaled = [
            float(by_kind[4 * kind + size] * (scales.get((family, size), 0.0) if scales else 1.0)) for size in range(4)
        ]
        return Share(family=family, tile_in=tiles[kind][0], tile_out=tiles[kind][1], us_per=scaled)

    def errors(self, predicted: Floats) -> dict[str, PredictionError]:
        """Return the error of predictions of networks that were left out, by structure."""
        found = {}
        off = np.abs(predicted / self.us - 1)
        for structure in dict.fromkeys(self._structures):
            own = off[[each == structure for each in self._structures]]
            found[structure] = PredictionError(networks=len(own), mean=float(own.mean()), worst=float(own.max()))
        return found


def _find_tiles(data: _Data) -> dict[int, Tiles]:
    """Return the tiles of each kind that predict left-out networks best, one kind after the other."""
    tiles = dict.fromkeys(range(len(data.kinds)), (1, 1))

    def error(trial: dict[int, Tiles]) -> float:
        return mean_error(_left_out(data.design(data.of_kinds(trial)), data.us), data.us)

    least = error(tiles)
    for kind, name in enumerate(data.kinds):
        mixes = name.split(" ")[0] in MATMUL_KINDS
        if not mixes and name != "DEPTHWISE_CONV_2D":
            continue
        for tile in TILES[1:]:
            for inside in (1, tile):
                trial = {**tiles, kind: (inside, tile)}
                if (found := error(trial)) < WORTH * least:
                    least, tiles = found, trial
    return tiles


def fit(features: Floats, us: Floats, prior: Floats | None = None, ridge: Floats | None = None) -> Floats:
    """Return non-negative coefficients by relative errors, Huber's weights, and a ridge towards ``prior``."""
    weights = 1 / us
    scale = np.maximum(np.abs(features).max(axis=0), 1e-12)
    solved = np.zeros(features.shape[1])
    for _ in range(ROUNDS):
        rows, wanted = features / scale * weights[:, None], us * weights
        if prior is not None and ridge is not None:
            rows, wanted = np.vstack([rows, np.diag(ridge / scale)]), np.concatenate([wanted, ridge * prior])
        solved = nnls(rows, wanted, maxiter=50 * features.shape[1])[0] / scale
        off = np.abs(features @ solved / us - 1)
        usual = TUNING * 1.4826 * np.median(off) + 1e-9
        weights = np.sqrt(np.minimum(1.0, usual / np.maximum(off, 1e-12))) / us
    return solved


def _left_out(
    features: Floats,
    us: Floats,
    prior: Floats | None = None,
    ridge: Floats | None = None,
    deviating: tuple[Floats, float] | None = None,
) -> Floats:
    """Return the time of every network as predicted from the others, a fold at a time.

    Given the covariance (networks x networks) and the noise of deviations, also by what the others deviate.
    """
    folds = np.random.default_rng(0).permutation(len(us)) % FOLDS
    predicted = np.zeros(len(us))
    for fold in range(FOLDS):
        out = folds == fold
        base = features @ fit(features[~out], us[~out], prior, ridge)
        if deviating is not None:
            base = base * (1 + predicted_off(deviating[0], us / base - 1, ~out, deviating[1]))
        predicted[out] = base[out]
    return predicted


def mean_error(predicted: Floats, us: Floats) -> float:
    """Return the mean relative error; no network counts more than three times the median one."""
    off = np.abs(predicted / us - 1)
    return float(np.mean(np.minimum(off, 3 * np.median(off))))
