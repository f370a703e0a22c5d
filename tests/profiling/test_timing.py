"""What repeats say: the latency does not follow single interruptions, and its error is neither hidden nor made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from amc_hw.budget.budget import parse_budget
from amc_hw.profiling.timing import Timing, is_undecided, share_doubt


def timing(means: Sequence[float]) -> Timing:
    return Timing("n", "n.tflite", tuple([1e3 * mean] for mean in means))


def test_the_latency_of_three_repeats_is_their_median_and_of_more_the_mean_without_the_outermost() -> None:
    assert timing([2.0]).latency_ms == 2
    assert timing([2.0, 4.0]).latency_ms == 3
    assert timing([9.0, 2.0, 4.0]).latency_ms == 4
    assert timing([9.0, 2.0, 4.0, 5.0]).latency_ms == 4.5
    assert timing([*range(1, 20), 1000]).latency_ms == pytest.approx(np.mean(range(3, 19)))


def normal(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return random.normal(100, 5, size)


def two_speeds(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return np.where(random.random(size) < 0.5, 85, 120) + random.normal(0, 2, size)


@pytest.mark.parametrize("machine", [normal, two_speeds])
@pytest.mark.parametrize("repeats", [6, 15, 30])
def test_the_doubt_is_the_standard_error(
    machine: Callable[[np.random.Generator, tuple[int, int]], np.ndarray], repeats: int
) -> None:
    timings = [timing(means) for means in machine(np.random.default_rng(0), (4000, repeats))]
    latencies = [each.latency_ms for each in timings]
    error = np.std(latencies) / np.mean(latencies)
    assert np.mean([each.doubt for each in timings]) == pytest.approx(error, rel=0.2)


def test_the_doubt_of_three_repeats_is_that_of_a_median() -> None:
    sets = normal(np.random.default_rng(0), (4000, 3))
    error = np.median(sets, axis=1).std() / 100
    assert np.mean([timing(means).doubt for means in sets]) == pytest.approx(error, rel=0.15)
    assert timing([2.0]).doubt == 0


def test_an_interruption_hardly_moves_a_latency_that_is_known_well() -> None:
    means = normal(np.random.default_rng(0), (1, 30))[0]
    interrupted = timing([*means[:-1], 1000.0])
    assert interrupted.latency_ms == pytest.approx(timing(means).latency_ms, rel=0.01)
    assert interrupted.doubt == pytest.approx(timing(means).doubt, rel=0.4)
    assert timing([*means[:5], 1000.0]).doubt > 0.5  # of six repeats nobody knows which one is the odd one


def test_what_slows_both_networks_leaves_their_ratio_known() -> None:
    random = np.random.default_rng(0)
    speed = two_speeds(random, (1, 60))[0]
    original, smaller = (timing(ms * speed * random.normal(1, 0.01, 60)) for ms in (2.0, 1.0))
    assert min(original.doubt, smaller.doubt) > 0.015
    assert share_doubt(parse_budget("latency_ms", "0.5x"), smaller, original) < 0.004
    assert share_doubt(parse_budget("latency_ms", "100ms"), smaller, original) == smaller.doubt
    assert is_undecided(parse_budget("latency_ms", "0.5x"), smaller, original)
    assert not is_undecided(parse_budget("latency_ms", "0.49x"), smaller, original)
    assert not is_undecided(parse_budget("latency_ms", "0.51x"), smaller, original)
