"""What the scores so far say about policies not tried yet: Gaussian process regression on keep ratios."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Factor = NDArray[np.floating[Any]]
"""What NumPy's factorisations say that they return."""

LENGTHS = (0.3, 0.6, 1.2)
NOISES = (0.05, 0.15, 0.4)
TRENDS = (1.0, 4.0)


class _Described(NamedTuple):
    """What the kernel compares of policies: ratios, what groups contribute by themselves, and the scaled hints."""

    ratios: Array
    parts: Array
    hints: Array


@dataclass(frozen=True)
class _Kernel:
    """How alike the losses of two policies are, under a length scale and a weight of the trend."""

    length: float
    trend: float

    def __call__(self, a: _Described, b: _Described) -> Array:
        """Return the covariances (policies of a, policies of b)."""
        distance = ((a.ratios[:, None] - b.ratios[None]) ** 2).mean(2)
        together = np.exp(-distance / (2 * (0.3 * self.length) ** 2))
        kernel: Array = self.trend * (a.parts @ b.parts.T) + np.outer(a.hints, b.hints) + together
        return kernel

    def variance(self, policies: _Described) -> Array:
        """Return the variance of each policy (policies,): the diagonal of its covariances."""
        variance: Array = self.trend * (policies.parts**2).sum(1) + policies.hints**2 + 1.0
        return variance


@dataclass(frozen=True)
class _Scale:
    """The mean and the standard deviation of what was seen, to which values are scaled."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Array) -> _Scale:
        """Return those of some values; where all are the same, they are only shifted."""
        return cls(float(values.mean()), float(values.std()) or 1.0)

    def scaled(self, values: Array) -> Array:
        """Return values of mean 0 and deviation 1."""
        scaled: Array = (values - self.mean) / self.deviation
        return scaled


@dataclass(frozen=True)
class _Fit:
    """What the kernel and the noise make of the scaled losses of the known policies.

    Attributes:
        kernel: of the policies.
        lower: Cholesky factor of their covariances and the noise (policies, policies).
        weights: of every known policy in a prediction (policies,).
        likelihood: logarithm of the marginal likelihood, but for a constant.
    """

    kernel: _Kernel
    lower: Factor
    weights: Array
    likelihood: float

    @classmethod
    def of(cls, kernel: _Kernel, noise: float, known: _Described, losses: Array) -> _Fit:
        """Fit scaled losses (policies,)."""
        lower: Factor = np.linalg.cholesky(kernel(known, known) + noise**2 * np.eye(len(losses)))
        weights = np.linalg.solve(lower.T, np.linalg.solve(lower, losses))
        return cls(kernel, lower, weights, -0.5 * float(losses @ weights) - float(np.log(np.diag(lower)).sum()))


@dataclass(frozen=True)
class Surrogate:
    """Predicts a loss from keep ratios (Rasmussen and Williams 2006, algorithm 2.1); `fit_surrogate` makes one.

    The kernel is a sum: what every group contributes by itself (its logarithm and its ratio, so that the last
    channels of a group count for more than the first ones taken, and whether it is there at all), and a squared
    exponential over all of them for what the groups do to each other; and a line in what was thought of each policy
    beforehand.

    Attributes:
        hints: how the first guesses are scaled.
        losses: how the losses are.
        known: the policies that were scored.
        kernel: the likeliest one.
        inverse: of the Cholesky factor of their covariances (policies, policies).
        weights: of every known policy in a prediction (policies,).
    """

    hints: _Scale
    losses: _Scale
    known: _Described
    kernel: _Kernel
    inverse: Factor
    weights: Array

    def predict(self, ratios: Array, hints: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the losses of policies (policies, groups) with hints (policies,)."""
        policies = _Described(ratios, _features(ratios), self.hints.scaled(hints))
        across = self.kernel(policies, self.known)
        projected = across @ self.inverse.T
        variance = self.kernel.variance(policies) - (projected**2).sum(1)
        mean: Array = self.losses.mean + self.losses.deviation * (across @ self.weights)
        deviation: Array = self.losses.deviation * np.sqrt(np.maximum(variance, 1e-12))
        return mean, deviation


def fit_surrogate(ratios: Array, hints: Array, losses: Array) -> Surrogate:
    """Return a surrogate of the policies that were scored.

    Length scale, noise and the trend's weight are those of a small grid under which the losses are likeliest.

    Args:
        ratios: (policies, groups), each 0..1; 0 is a residual block left out.
        hints: (policies,), a first guess at the losses, of any scale and sign.
        losses: (policies,), any scale; logarithms of errors do well, because errors multiply.
    """
    hint_scale, scale = _Scale.of(hints), _Scale.of(losses)
    known = _Described(ratios, _features(ratios), hint_scale.scaled(hints))
    grid = itertools.product(LENGTHS, NOISES, TRENDS)
    fits = (_Fit.of(_Kernel(length, trend), noise, known, scale.scaled(losses)) for length, noise, trend in grid)
    best = max(fits, key=lambda fit: fit.likelihood)
    inverse: Factor = np.linalg.inv(best.lower)
    return Surrogate(hint_scale, scale, known, best.kernel, inverse, best.weights)


def _features(ratios: Array) -> Array:
    """Return what groups contribute by themselves, scaled so that networks of any depth vary alike."""
    there = ratios > 0
    logarithms = np.log(np.where(there, ratios, 1.0))
    parts = np.concatenate([ratios, logarithms, ratios**2, there], axis=1) / math.sqrt(ratios.shape[1])
    return np.concatenate([parts, np.ones((len(ratios), 1))], axis=1)
