from __future__ import annotations

import itertools

import pytest
import torch

from amc_hw.pruning.least_squares import Reading, elimination_order, factor, inner_products, moments, solve


def test_the_solution_is_that_of_least_squares() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(500, 1, 12).double(), torch.randn(500, 5).double()
    found = moments(x, y, with_bias=False)
    wanted = torch.linalg.lstsq(x[:, 0], y).solution.T
    torch.testing.assert_close(solve(found.gram, found.cross)[0], wanted, rtol=1e-3, atol=1e-4)


def test_a_bias_takes_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 1, 4).double() + 3
    weights, bias = torch.randn(2, 4).double(), torch.tensor([5.0, -1.0]).double()
    found = moments(x, x[:, 0] @ weights.T + bias, with_bias=True)
    solved = solve(found.gram, found.cross)[0]
    torch.testing.assert_close(solved, weights, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.mean_y[0] - solved @ found.mean_x[0], bias, rtol=1e-3, atol=1e-3)


def test_groups_are_solved_apart() -> None:
    torch.manual_seed(0)
    x, weights = torch.randn(200, 3, 4).double(), torch.randn(3, 2, 4).double()
    y = torch.einsum("ngi,goi->ngo", x, weights).flatten(1)
    found = moments(x, y, with_bias=False)
    torch.testing.assert_close(solve(found.gram, found.cross), weights, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("inputs", [3, 201, 770])
def test_products_that_are_mirrored_are_those_that_would_be_computed(inputs: int) -> None:
    x = torch.randn(2, 50, inputs, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inner_products(x), x.transpose(1, 2) @ x)


def test_a_ridge_makes_a_singular_matrix_solvable() -> None:
    torch.testing.assert_close(
        solve(torch.ones(1, 3, 3).double(), torch.ones(1, 3, 1).double()),
        torch.full((1, 1, 3), 1 / 3).double(),
        rtol=1e-3,
        atol=0,
    )
    assert torch.isfinite(factor(torch.zeros(1, 3, 3).double())).all()
    indefinite = torch.diag(torch.tensor([1.0, 1.0, -1e-3])).double()[None]  # what rounding can do
    assert torch.isfinite(factor(indefinite)).all()


def error_without(gram: torch.Tensor, weights: torch.Tensor, gone: list[int], k: int) -> float:
    """Least-squares error of the best weights for the remaining inputs, by the normal equations."""
    stay = [i for i in range(len(gram)) if i // k not in gone]
    best = torch.linalg.solve(gram[stay][:, stay], gram[stay] @ weights.T).T
    full = torch.zeros_like(weights)
    full[:, stay] = best
    return float((((weights - full) @ gram) * (weights - full)).sum())


def test_each_step_removes_the_channel_that_costs_least() -> None:
    torch.manual_seed(0)
    k, channels = 3, 6
    x = torch.randn(400, k * channels).double() @ torch.randn(k * channels, k * channels).double()
    gram, weights = x.T @ x / 400, torch.randn(4, k * channels).double()
    order = elimination_order(channels, [Reading(torch.linalg.inv(gram), weights)]).tolist()
    gone: list[int] = []
    for channel in order[:0:-1]:
        errors = {c: error_without(gram, weights, [*gone, c], k) for c in range(channels) if c not in gone}
        assert channel == min(errors, key=errors.__getitem__)
        gone.append(channel)


def test_a_redundant_channel_goes_first_and_the_error_of_all_readers_counts() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 4).double()
    x[:, 2] = x[:, 0] + 1e-3 * x[:, 2]
    inverse = torch.linalg.inv(x.T @ x / 400)
    indifferent = Reading(inverse, torch.tensor([[0.0, 1.0, 0.0, 1.0]]).double())
    reader = Reading(inverse, torch.tensor([[5.0, 1.0, 5.0, 0.1]]).double())
    assert elimination_order(4, [reader]).tolist()[-1] in (0, 2)
    firsts = [elimination_order(4, list(both)).tolist()[0] for both in itertools.permutations([indifferent, reader])]
    assert firsts[0] == firsts[1]


def test_the_readings_are_left_as_they_were() -> None:
    reading = Reading(torch.eye(4).double(), torch.rand(2, 4).double())
    before = reading.weights.clone()
    elimination_order(4, [reading])
    assert torch.equal(reading.weights, before)
    assert torch.equal(reading.inverse, torch.eye(4).double())
