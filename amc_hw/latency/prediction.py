"""Latency of a network for any channel counts: the sum of its operators by the table, tied to the clock."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amc_hw.errors import TableError
from amc_hw.latency.deviations import Deviating, surfaces_of
from amc_hw.latency.extrapolation import Extrapolation
from amc_hw.latency.operators import Operator
from amc_hw.latency.share import Share
from amc_hw.latency.shares import WORTH
from amc_hw.latency.surface import Surface
from amc_hw.latency.table import CalibrationNetwork, LatencyTable, PredictionError

NETWORKS_TO_CALIBRATE = 4
UNLIKE = 1.5
"""How many times as long as the smallest network, by its operators or by the clock, the largest takes."""
ENTRIES_FOR_SURFACE = 16
"""Channel counts of a family from which its own surface says more than all operators of the kind together."""


@dataclass(frozen=True)
class Calibration:
    """``measured = slope * (sum of operators) + constant_ms``: what running them together costs or saves.

    The constant is positive where starting a run takes time. It is negative where the profiler's own time in every
    operator weighs more: that of the operators of a network of hundreds of small ones may be a third of their sum.
    """

    slope: float = 1.0
    constant_ms: float = 0.0

    @property
    def start_ms(self) -> float:
        """What a run takes beside its operators."""
        return max(0.0, self.constant_ms)

    def overhead_ms(self, operators: int) -> float:
        """Return what the profiler takes in each of so many operators: less where some are left out."""
        return max(0.0, -self.constant_ms) / max(1, operators)

    def __call__(self, operators_ms: float) -> float:
        """Return the predicted time of the whole network in milliseconds."""
        return self.slope * operators_ms + self.constant_ms


def structure_of(operators: Sequence[Operator]) -> str:
    """Return a digest of a network's operators but for their channels: all its pruned versions share it."""
    families = "\n".join(operator.family for operator in operators)
    return hashlib.sha256(families.encode()).hexdigest()[:12]


def fit_calibration(networks: Sequence[CalibrationNetwork]) -> Calibration:
    """Fit by least squares on relative errors.

    With networks of like size the constant cannot be told from the slope, so it is held at zero unless the smallest
    and the largest differ by at least half, and unless networks that are left out are predicted better with it.
    """
    if not networks:
        return Calibration()
    x = np.array([network.operators_ms for network in networks])
    y = np.array([network.measured_ms for network in networks])
    slope = _slope(networks)
    unlike = x.max() > UNLIKE * x.min() or y.max() > UNLIKE * y.min()
    if len(networks) >= NETWORKS_TO_CALIBRATE and unlike:
        features = np.stack([x, np.ones_like(x)], axis=1) / y[:, None]
        inverse = np.linalg.pinv(features)
        line = inverse.sum(axis=1)
        leverage = np.minimum(np.einsum("ij,ji->i", features, inverse), 0.99)
        left_out = np.abs(features @ line - 1) / (1 - leverage)
        if line[0] > 0 and left_out.mean() < WORTH * np.abs(slope * x / y - 1).mean():
            return Calibration(float(line[0]), float(line[1]))
    return Calibration(slope)


def _slope(networks: Sequence[CalibrationNetwork]) -> float:
    return float(np.median([network.measured_ms / network.operators_ms for network in networks]))


def left_out_error(networks: Sequence[CalibrationNetwork]) -> PredictionError:
    """Return the error on each network when the calibration is fitted on the others."""
    errors = []
    for index, network in enumerate(networks):
        others = [*networks[:index], *networks[index + 1 :]]
        predicted = fit_calibration(others)(network.operators_ms)
        errors.append(abs(predicted / network.measured_ms - 1))
    return PredictionError(networks=len(networks), mean=float(np.mean(errors)), worst=max(errors))


class Predictor:
    """Answers from one table.

    A family with many entries is predicted by its own surface. Of a family with few, what was measured is
    taken as it is, and the rest is predicted from all operators of the kind.

    Args:
        table: the measurements.
    """

    def __init__(self, table: LatencyTable) -> None:
        self.table = table
        self._families = table.families()
        self._surfaces: dict[str, Surface | Share | Deviating] = {}
        if table.totals is not None:
            self._surfaces.update(surfaces_of(table.totals))
        self._extrapolation: Extrapolation | None = None

    @property
    def extrapolation(self) -> Extrapolation:
        """What the table says of operators that it has few measurements of, or none."""
        if self._extrapolation is None:
            self._extrapolation = Extrapolation(self.table.entries)
        return self._extrapolation

    def surface(self, family: str) -> Surface | Share | Deviating | None:
        """The surface of a family, or its share of totals; None where the table has too few entries for one."""
        if family not in self._surfaces and len(self._families.get(family, ())) >= ENTRIES_FOR_SURFACE:
            self._surfaces[family] = Surface(self._families[family])
        return self._surfaces.get(family)

    def operators_ms(self, operators: Sequence[Operator]) -> list[float]:
        """Return each operator's latency inside a running network, in milliseconds.

        Raises:
            TableError: the table has no entry of the kind of an operator that has a filter.
        """
        latencies = np.zeros(len(operators))
        by_family: dict[str, list[int]] = {}
        for index, operator in enumerate(operators):
            by_family.setdefault(operator.family, []).append(index)
        for family, indices in by_family.items():
            c_in = np.array([operators[i].c_in for i in indices], float)
            c_out = np.array([operators[i].c_out for i in indices], float)
            if surface := self.surface(family):
                latencies[indices] = surface.predict_us(c_in, c_out) / 1e3
            elif self.answers(operators[indices[0]]):
                measured = {entry.key[1:]: entry.mean_us for entry in self._families.get(family, ())}
                asked = [(operators[i].c_in, operators[i].c_out) for i in indices]
                known = np.array([measured.get(channels, 0.0) for channels in asked])
                if not known.all():
                    inferred = self.extrapolation.predict_us(family, c_in, c_out)
                    known = np.where(known > 0, known, inferred)
                latencies[indices] = known / 1e3
            elif operators[indices[0]].fan_in:
                raise TableError(
                    f"the table has no entry of operators like '{family}'; measure the network with amc-hw profile, or "
                    "name a device that is at hand: device=host."
                )
        return [float(latency) for latency in latencies]

    def sums_ms(self, networks: Sequence[Sequence[Operator]]) -> list[float]:
        """Return what the operators of each of several networks take together, in milliseconds.

        All are asked for at once: trees take nearly as long for one operator as for a thousand.
        """
        times = self.operators_ms([operator for network in networks for operator in network])
        ends = np.cumsum([len(network) for network in networks])
        return [sum(times[end - len(network) : end]) for network, end in zip(networks, ends, strict=True)]

    def answers(self, operator: Operator) -> bool:
        """Tell whether the table has a time for an operator; 0 stands for those it has none of.

        A delegate fuses operators without a filter into their neighbours, so that only those have a time that
        were seen to run. Without a delegate every operator runs, and one of its kind tells of another.
        """
        if operator.family in self._families or operator.family in self._surfaces:
            return True
        if operator.fan_in or self.table.fingerprint.delegate == "none":
            return self.extrapolation.knows(operator.family)
        return False

    def calibration(self, structure: str) -> Calibration:
        """Return the calibration on networks of this structure, or on all networks of the table if there are few.

        Those have another number of operators, so that what the profiler takes in theirs says nothing of this one's.
        """
        own = [network for network in self.table.calibration if network.structure == structure]
        if len(own) >= NETWORKS_TO_CALIBRATE:
            return fit_calibration(own)
        others = fit_calibration(self.table.calibration)
        return others if others.constant_ms >= 0 else Calibration(_slope(self.table.calibration))

    def network_ms(self, operators: Sequence[Operator]) -> float:
        """Return the predicted latency of a whole network in milliseconds."""
        return self.calibration(structure_of(operators))(sum(self.operators_ms(operators)))
