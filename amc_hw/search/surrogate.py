"""What the scores so far say about policies not tried yet: Gaussian process regression on keep ratios."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.3, 0.6, 1.2)
NOISES = (0.05, 0.15, 0.4)
TRENDS = (1.0, 4.0)


class _Described(NamedTuple):
    """What the kernel compares of policies: ratios, what groups contribute by themselves, and the scaled hints."""

    ratios: Array
    parts: Array
    hints: Array


class Surrogate:
    """Predicts a loss from keep ratios (Rasmussen and Williams 2006, algorithm 2.1).

    The kernel is a sum: what every group contributes by itself (its logarithm and its ratio, so that the last
    channels of a group count for more than the first ones taken, and whether it is there at all), and a squared
    exponential over all of them
    for what the groups do to each other; and a line in what was thought of each policy beforehand. Length scale,
    noise and the trend's weight are those of a small grid under which the losses are likeliest.

    Args:
        ratios: (policies, groups), each 0..1; 0 is a residual block left out.
        hints: (policies,), a first guess at the losses, of any scale and sign.
        losses: (policies,), any scale; logarithms of errors do well, because errors multiply.
    """

    def __init__(self, ratios: Array, hints: Array, losses: Array) -> None:
        self._hint_mean, self._hint_scale = float(hints.mean()), float(hints.std()) or 1.0
        self._known = self._described(ratios, hints)
        self._mean, self._scale = float(losses.mean()), float(losses.std()) or 1.0
        targets = (losses - self._mean) / self._scale
        likeliest = -math.inf
        for self._length, noise, self._trend in itertools.product(LENGTHS, NOISES, TRENDS):
            covariance = self._kernel(self._known, self._known) + noise**2 * np.eye(len(ratios))
            lower = np.linalg.cholesky(covariance)
            weights = np.linalg.solve(lower.T, np.linalg.solve(lower, targets))
            likelihood = -0.5 * float(targets @ weights) - float(np.log(np.diag(lower)).sum())
            if likelihood > likeliest:
                likeliest = likelihood
                best = (self._length, self._trend, np.linalg.inv(lower), weights)
        self._length, self._trend, self._inverse, self._weights = best

    def predict(self, ratios: Array, hints: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the losses of policies (policies, groups) with hints (policies,)."""
        policies = self._described(ratios, hints)
        across = self._kernel(policies, self._known)
        projected = across @ self._inverse.T
        variance = self._variance(policies) - (projected**2).sum(1)
        mean: Array = self._mean + self._scale * (across @ self._weights)
        deviation: Array = self._scale * np.sqrt(np.maximum(variance, 1e-12))
        return mean, deviation

    def _described(self, ratios: Array, hints: Array) -> _Described:
        return _Described(ratios, _features(ratios), (hints - self._hint_mean) / self._hint_scale)

    def _kernel(self, a: _Described, b: _Described) -> Array:
        distance = ((a.ratios[:, None] - b.ratios[None]) ** 2).mean(2)
        together = np.exp(-distance / (2 * (0.3 * self._length) ** 2))
        kernel: Array = self._trend * (a.parts @ b.parts.T) + np.outer(a.hints, b.hints) + together
        return kernel

    def _variance(self, policies: _Described) -> Array:
        variance: Array = self._trend * (policies.parts**2).sum(1) + policies.hints**2 + 1.0
        return variance


def _features(ratios: Array) -> Array:
    """Return what groups contribute by themselves, scaled so that networks of any depth vary alike."""
    there = ratios > 0
    logarithms = np.log(np.where(there, ratios, 1.0))
    parts = np.concatenate([ratios, logarithms, ratios**2, there], axis=1) / math.sqrt(ratios.shape[1])
    return np.concatenate([parts, np.ones((len(ratios), 1))], axis=1)
