"""The device has the last word: what it finds over budget is passed over or made smaller."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from finished_search import exact_cost, finished_search
from simulated_device import SimulatedDevice
from torch import Tensor, nn

from amc_hw.budget.bounds import Limit
from amc_hw.budget.budget import parse_budget
from amc_hw.budget.cost import Cost
from amc_hw.budget.network_costs import network_costs
from amc_hw.data.dataset import load_data
from amc_hw.errors import BudgetError, BudgetMissedError, UnsupportedModelError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.pipeline import timed
from amc_hw.pipeline.budget_use import missed_policies
from amc_hw.pipeline.chosen import blindly_chosen, chosen_policy, under_floor
from amc_hw.pipeline.compress import share_found
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.nearby import Nearby
from amc_hw.pipeline.shortlist import best_policies, fit
from amc_hw.pipeline.table_doubts import doubts
from amc_hw.pipeline.verify import verify
from amc_hw.profiling.plan import draw_policy
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.runs.records import Candidate, ChosenPolicy, Miss
from amc_hw.search.scoring import OwnScore
from amc_hw.tasks.classification import few_images
from amc_hw.tracing.traced import TracedModel, trace_model


class Stubborn(SimulatedDevice):
    """Small networks gain less here than the table says: every file has a fixed cost."""

    def __init__(self, fixed_us: float) -> None:
        super().__init__(overhead=1.0)
        self.fixed_us = fixed_us

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        return [self.fixed_us + sample for sample in super().time_model(file, warmup=warmup, runs=runs)]


class Wavering(Stubborn):
    """Repeats of a candidate are a share faster, true, and a share slower, in turns."""

    def __init__(self, fixed_us: float, share: float) -> None:
        super().__init__(fixed_us)
        self.factors = itertools.cycle([1 - share, 1.0, 1 + share])

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        samples = super().time_model(file, warmup=warmup, runs=runs)
        factor = next(self.factors) if file.stem == "candidate" else 1.0
        return [factor * sample for sample in samples]


def run_verify(traced: TracedModel, template: GraphTemplate, folder: Path, device: SimulatedDevice, budget: str):
    search = finished_search(traced, exact_cost(traced, template), budget)
    ranked = best_policies(search, traced.choices)
    job = Job(RunFolder(folder), make_config(budget=budget), traced, device, OwnScore(lambda model: 0.5))
    return ranked, verify(job, search, ranked, SILENT)


def test_a_true_table_needs_one_measurement(traced: TracedModel, template: GraphTemplate, tmp_path: Path) -> None:
    ranked, verified = run_verify(traced, template, tmp_path, SimulatedDevice(overhead=1.2), "0.6x")
    assert len(verified.candidates) == 1
    assert verified.chosen.channels == ranked[0]
    assert not verified.chosen.repaired


class Refusing(SimulatedDevice):
    """Has a runtime that refuses the first candidates."""

    def __init__(self, refused: int) -> None:
        super().__init__(overhead=1.2)
        self.refused = refused


def refuse_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def export_for(device: Refusing, trained: TracedModel, model: torch.nn.Module, path: Path) -> None:
        device.refused -= 1
        if device.refused >= 0:
            raise UnsupportedModelError("the file would say nothing any more; choose another precision=.")
        real(device, trained, model, path)

    real = timed.export_for
    monkeypatch.setattr(timed, "export_for", export_for)


def test_a_policy_without_a_file_gives_way_to_the_next_best(
    traced: TracedModel,
    template: GraphTemplate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse_first(monkeypatch)
    ranked, verified = run_verify(traced, template, tmp_path, Refusing(2), "0.6x")
    assert len(ranked) > 2
    assert verified.chosen.channels == ranked[2]
    assert [candidate.channels for candidate in verified.candidates] == [ranked[2]]
    assert caplog.text.count("The next best policy is measured instead") == 2


def test_where_no_policy_has_a_file_the_reason_is_told(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_first(monkeypatch)
    with pytest.raises(UnsupportedModelError, match="choose another precision="):
        run_verify(traced, template, tmp_path, Refusing(99), "0.6x")


def test_a_policy_under_the_floor_comes_with_a_warning() -> None:
    candidate = Candidate(channels={"g": 8}, score=0.89, predicted_ms=1.0, measured_ms=1.0, original_ms=2.0)
    assert under_floor(candidate, None) == under_floor(candidate, 0.89) == []
    assert "89.00% before fine-tuning, under the floor of 90.00%" in under_floor(candidate, 0.9)[0]


class Bottleneck(nn.Module):
    """Two groups of channels inside a block."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.three(self.two(self.one(x).relu()).relu())


def test_of_a_block_that_is_left_out_no_group_keeps_channels() -> None:
    traced = trace_model(nn.Sequential(nn.Conv2d(3, 16, 3), Bottleneck(), Bottleneck(), nn.Conv2d(16, 4, 1)), (3, 9, 9))
    policy = {**traced.network.original, "1.one": 0, "2.two": 4}
    costs = network_costs(traced.network, Cost("latency_ms", []), 1000)
    trained: Any = SimpleNamespace(network=traced.network, image_size=traced.image_size, policy_fields={})
    candidate = Candidate(channels=policy, score=0.5, predicted_ms=1.0)
    found = chosen_policy(trained, costs, candidate, [candidate], 1)
    assert found.channels == policy
    assert {group.name: group.kept for group in found.groups} == {**policy, "1.two": 0}


def test_scores_of_zero_alone_come_with_a_warning() -> None:
    assert blindly_chosen([0.0, 0.01]) == []
    assert "nothing to choose by" in blindly_chosen([0.0, 0.0])[0]


def test_a_table_that_was_wrong_about_the_policy_is_told(traced: TracedModel, template: GraphTemplate) -> None:
    notes, cost = ["the machine was busy."], exact_cost(traced, template)
    search, original = finished_search(traced, cost, "0.6x"), cost(traced.network.original)

    def candidate(predicted_ms: float, measured_ms: float | None, drift: float = 1.0) -> Candidate:
        return Candidate(
            channels={"g": 8},
            score=0.89,
            predicted_ms=predicted_ms,
            measured_ms=measured_ms,
            original_ms=drift * original,
        )

    assert doubts(search, candidate(1.0, 1.1), notes) == []
    assert doubts(search, candidate(1.0, None), notes) == []
    assert doubts(search, candidate(1.0, 2.0, drift=2.0), notes) == []  # the device was half as fast for both
    assert doubts(replace(search, budgets=(parse_budget("macs", "0.6x"),)), candidate(6.009, 1.551), notes) == []
    absolute = replace(search, budgets=(parse_budget("latency_ms", f"{original / 2:.6f}ms"),))
    assert (
        "2.00 times as long for the original as when the search began"
        in doubts(absolute, candidate(1.0, 2.0, drift=2.0), notes)[0]
    )
    assert "predicts 1 ms where the device takes 2 ms" in doubts(absolute, candidate(1.0, 2.0), notes)[0]
    wrong, note = doubts(search, candidate(6.009, 1.551), notes)
    assert "predicts 6.009 ms where the device takes 1.551 ms" in wrong
    assert "the machine was busy" in note


def test_what_is_well_under_its_budget_is_grown(traced: TracedModel, template: GraphTemplate, tmp_path: Path) -> None:
    """Small networks gain more here than the table says."""
    original_us = 1e3 * exact_cost(traced, template)(traced.network.original)
    _, verified = run_verify(traced, template, tmp_path, Stubborn(-0.15 * original_us), "0.6x")
    assert verified.candidates[0].measured_ms < 0.95 * 0.6 * verified.candidates[0].original_ms
    assert verified.chosen.repaired
    assert 0.95 * 0.6 <= verified.chosen.measured_ms / verified.chosen.original_ms <= 0.6


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_what_is_over_budget_is_repaired(
    share: float, traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    original_us = 1e3 * exact_cost(traced, template)(traced.network.original)
    _, verified = run_verify(traced, template, tmp_path, Stubborn(share * original_us), "0.6x")
    chosen = verified.chosen
    assert len(verified.candidates) > 1
    assert verified.candidates[0].measured_ms > 0.6 * verified.candidates[0].original_ms
    assert chosen.measured_ms <= 0.6 * chosen.original_ms
    assert chosen.measured_ms >= 0.95 * 0.6 * chosen.original_ms


def test_the_best_of_several_policies_nearby_comes_next(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    search = finished_search(traced, exact_cost(traced, template), "0.6x")
    policy, limits = search.study.best.channels, search.limits(0.85)
    cheapest = fit(policy, traced.choices, limits)
    loses_most = min(cheapest, key=lambda group: cheapest[group] / policy[group])
    layer = next(each.name for each in traced.network.layers if each.c_out.groups == (loses_most,))

    def score(model) -> float:
        return model.get_submodule(layer).weight.shape[0] / traced.network.original[loses_most]

    job = Job(RunFolder(tmp_path), make_config(budget="0.6x"), traced, SimulatedDevice(), OwnScore(score))
    nearby = Nearby(job, search)
    found = nearby(policy, limits, [], SILENT)
    assert found[loses_most] > cheapest[loses_most]
    assert 0.8 * limits[0].most <= limits[0].cost(found) <= limits[0].most
    assert nearby(policy, limits, [found], SILENT) != found


def test_policies_are_taken_to_be_as_much_slower_at_last_as_one_that_missed_was(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    device = SimulatedDevice(overhead=1.2)
    _, first = run_verify(traced, template, tmp_path, device, "0.6x")
    found = first.chosen.measured_ms / (0.6 * first.chosen.original_ms)
    miss = Miss(channels=first.chosen.channels, found=found, used=1.04)
    RunFolder(tmp_path).misses.append(miss)
    _, second = run_verify(traced, template, tmp_path, device, "0.6x")
    assert second.candidates[0].channels == first.candidates[0].channels  # the search's choice, not the one that missed
    at_last = 1.04 / found * second.chosen.measured_ms / (0.6 * second.chosen.original_ms)
    assert 0.95 <= at_last <= 1
    assert missed_policies(RunFolder(tmp_path)) == {tuple(first.chosen.channels.items()): miss}


def test_a_policy_that_nobody_measured_is_taken_to_use_all_of_its_budget() -> None:
    budget = parse_budget("latency_ms", "0.5x")
    known = Candidate(channels={"g": 8}, score=0.9, predicted_ms=1.0, measured_ms=0.8, original_ms=2.0)
    unknown = known.model_copy(update={"measured_ms": None})
    assert share_found(budget, ChosenPolicy(channels={"g": 8}, candidates=[known])) == pytest.approx(0.8)
    assert share_found(budget, ChosenPolicy(channels={"g": 8}, candidates=[unknown])) == 1


def test_what_the_repeats_leave_in_doubt_counts_against_a_policy(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    shares = []
    for seed in range(10):
        device = SimulatedDevice(noise=0.15, seed=seed)  # a mean of 100 runs is known to 1.5 %
        _, verified = run_verify(traced, template, tmp_path, device, "0.6x")
        cost = exact_cost(traced, template)
        shares.append(cost(verified.chosen.channels) / (0.6 * cost(traced.network.original)))
    assert max(shares) <= 1
    assert min(shares) >= 0.92


@pytest.mark.parametrize("doubt", [0.0, 0.012])
def test_a_budget_that_is_hardly_used_is_used_better_where_the_repeats_leave_doubt(
    doubt: float, traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    """The first candidate uses a little more than 95 % of the budget."""
    original_us = 1e3 * exact_cost(traced, template)(traced.network.original)
    _, verified = run_verify(traced, template, tmp_path, Wavering(-0.06 * original_us, doubt), "0.6x")
    shares = [each.measured_ms / (0.6 * each.original_ms) for each in verified.candidates]
    assert 0.95 < shares[0] < 0.955
    assert (len(shares) > 1) == (doubt > 0)


def test_a_budget_that_the_device_cannot_keep_is_refused(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path
) -> None:
    original_us = 1e3 * exact_cost(traced, template)(traced.network.original)
    with pytest.raises(BudgetMissedError, match="were measured at last, known to") as raised:
        run_verify(traced, template, tmp_path, Stubborn(3 * original_us), "0.6x")
    assert raised.value.exit_status == 1


def test_fitting_stays_on_the_grid_and_under_all_limits(traced: TracedModel, template: GraphTemplate) -> None:
    search = finished_search(traced, exact_cost(traced, template), "0.6x")
    latency, size = search.costs.latency_ms, search.costs.size_bytes
    for ratio in (0.9, 0.7, 0.5, 0.3):
        limits = tuple(Limit(cost, ratio * cost(traced.network.original)) for cost in (latency, size))
        policy = fit(traced.network.original, traced.choices, limits)
        assert all(limit.cost(policy) <= limit.most for limit in limits)
        assert all(policy[group] in counts for group, counts in traced.choices.items())
    with pytest.raises(BudgetError, match="cannot be reached"):
        fit(traced.network.original, traced.choices, (Limit(latency, 1e-6),))


def test_a_short_fine_tune_learns_a_fixed_number_of_training_images() -> None:
    data = load_data("digits")
    few = few_images(data, 500, seed=0)
    assert len(few.train) == 500
    assert set(few.train.positions.tolist()) <= set(data.train.positions.tolist())
    assert torch.equal(few.train.positions, few_images(data, 500, seed=0).train.positions)
    assert few.search is data.search


def test_the_predicted_size_is_that_of_the_exported_file(traced: TracedModel, template: GraphTemplate) -> None:
    random = np.random.default_rng(0)
    original = template.file(traced.network.original, random)
    size = network_costs(traced.network, exact_cost(traced, template), len(original)).size_bytes
    assert size(traced.network.original) == len(original)
    for _ in range(3):
        policy = draw_policy(traced.choices, random)
        assert size(policy) == pytest.approx(len(template.file(policy, random)), rel=0.01)
