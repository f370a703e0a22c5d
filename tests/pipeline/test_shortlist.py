"""What is compared after a search, and by what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from finished_search import exact_cost, finished_search
from torch import nn

from amc_hw.formats.graph import GraphTemplate
from amc_hw.pipeline import shortlist as compared
from amc_hw.pipeline.shortlist import CANDIDATES, RESCORED, best_policies, fit, rivals, shortlist
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.search.scoring import OwnScore
from amc_hw.tracing.traced import TracedModel


def test_the_shortlist_uses_its_budget_up(traced: TracedModel, template: GraphTemplate) -> None:
    cost = exact_cost(traced, template)
    search = finished_search(traced, cost, "0.6x")
    limit = 0.6 * cost(traced.network.original)
    policies = [*best_policies(search, traced.choices), *rivals(search, traced.choices)]
    assert len(policies) == 4
    for policy in policies:
        assert 0.95 * limit <= cost(policy) <= limit
        dearer = [{**policy, g: c} for g, counts in traced.choices.items() for c in counts if c > policy[g]]
        assert all(cost(larger) > limit for larger in dearer)


def test_what_won_for_another_budget_competes_instead_of_the_uniform_policy(
    traced: TracedModel, template: GraphTemplate
) -> None:
    search = finished_search(traced, exact_cost(traced, template), "0.6x")
    winner = dict(traced.network.original)
    limits = search.limits(1 - search.margin)
    assert rivals(search, traced.choices, winner) == [fit(winner, traced.choices, limits)]


def test_the_shortlist_keeps_the_floor_where_a_policy_within_the_budget_does(
    traced: TracedModel, template: GraphTemplate
) -> None:
    found = finished_search(traced, exact_cost(traced, template), "0.6x")
    scores = [episode.accuracy for episode in found.study.top(3)]
    accuracy = {tuple(episode.channels.items()): episode.accuracy for episode in found.study.episodes}

    def chosen(floor: float) -> list[float]:
        search = replace(found, bounded=False, floor=floor)
        return [accuracy[tuple(policy.items())] for policy in best_policies(search, traced.choices)]

    assert scores[1] < scores[0]
    assert chosen(0.0) == scores
    assert chosen(scores[0]) == scores[:1]  # the second best is under the floor
    assert chosen(1.01) == scores  # nothing keeps it


def by_size(model: nn.Module) -> float:
    """The smaller, the better: the reverse of what the finished search says."""
    return 1e3 / sum(parameter.numel() for parameter in model.parameters())


def job_of(traced: TracedModel, folder: Path, epochs: int) -> Any:
    trained = SimpleNamespace(decisions=traced.choices, precision="fp32")
    config = SimpleNamespace(epochs=epochs, seed=0)
    return SimpleNamespace(run=RunFolder(folder), trained=trained, config=config, score=OwnScore(by_size))


def test_without_fine_tuning_what_is_best_before_it_is_first(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compared, "_tuned_score", None)  # nothing may be tuned
    search = finished_search(traced, exact_cost(traced, template), "0.6x")
    ranked = shortlist(job_of(traced, tmp_path, epochs=0), search, SILENT)
    known = [*best_policies(search, traced.choices, RESCORED), *rivals(search, traced.choices)]
    assert ranked == sorted(known, key=lambda policy: -by_size(search.pruner.pruned(policy)))
    assert ranked != known
    assert not RunFolder(tmp_path).shortlist.exists()


@pytest.mark.parametrize("sampled", [True, False])
def test_the_luckiest_of_a_sample_are_scored_on_all_images(
    traced: TracedModel, template: GraphTemplate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampled: bool
) -> None:
    tuned = []
    monkeypatch.setattr(compared, "_tuned_score", lambda job, search, policy, progress: tuned.append(policy) or 0.5)
    search = replace(finished_search(traced, exact_cost(traced, template), "0.6x"), sampled=sampled)
    shortlist(job_of(traced, tmp_path, epochs=6), search, SILENT)
    best = best_policies(search, traced.choices, RESCORED)
    if sampled:
        best.sort(key=lambda policy: -by_size(search.pruner.pruned(policy)))
    assert tuned == [*best[:CANDIDATES], *rivals(search, traced.choices)]
