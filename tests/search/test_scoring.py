"""A hopeless policy sees a part of the images; what the search ends with is the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import nn

from amc_hw.data.dataset import load_data
from amc_hw.pipeline.begin import load_model_and_data
from amc_hw.search.scoring import LEVEL, LOOKS, EarlyDropping, PartScorer, is_hopeless
from amc_hw.training.evaluation import evaluate

IMAGES = 5000


class Budget:
    """Stands in for a search space: a policy with 89 channels in ``a`` is over the budget; the uniform one has 70."""

    bounds = SimpleNamespace(keeps=lambda policy: policy["a"] <= 70)
    choices: ClassVar[dict[str, tuple[int, ...]]] = {"a": tuple(range(30, 90)), "b": (0, 1)}

    def keeps(self, policy) -> bool:
        return policy["a"] != 89


class Answers:
    """Stands in for a scorer: a network is its policy, which gets easier images right sooner."""

    part = range(IMAGES)

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.hardness = torch.rand(IMAGES, generator=draw)
        self.looked_at = 0

    def prepared(self, policy):
        return policy

    def right(self, policy, positions: torch.Tensor) -> torch.Tensor:
        self.looked_at += len(positions)
        return self.margins(policy, positions) > 0

    def margins(self, policy, positions: torch.Tensor) -> torch.Tensor:
        noise = 0.1 * torch.randn(IMAGES, generator=torch.Generator().manual_seed(policy["b"]))
        return (policy["a"] / 100 - self.hardness - noise)[positions]


def policies(count: int) -> list[dict[str, int]]:
    drawn = torch.randint(30, 90, (count,), generator=torch.Generator().manual_seed(1)).tolist()
    return [{"a": a, "b": number} for number, a in enumerate(drawn)]


def dropping(answers: Answers) -> EarlyDropping:
    return EarlyDropping(answers, Budget(), lambda policy: policy, {"a": 89, "b": 0}, 3)  # type: ignore[arg-type]


def play(scoring: EarlyDropping, played):
    scores = []
    for policy in played:
        scores.append(scoring.score(policy))
        scoring.recall(policy, scores[-1])
    return scores


def test_the_best_are_those_of_whole_scores_for_a_fraction_of_the_images() -> None:
    answers, played = Answers(), [policy for policy in policies(200) if policy["a"] != 89]
    scoring = dropping(answers)
    scores = play(scoring, played)
    assert answers.looked_at < 0.2 * IMAGES * len(played)
    whole = [float(Answers().right(policy, torch.arange(IMAGES)).double().mean()) for policy in played]
    best = sorted(range(len(played)), key=lambda index: -whole[index])[:3]
    assert min(whole[index] for index in sorted(range(len(played)), key=lambda index: -scores[index].accuracy)[:3]) > (
        min(whole[index] for index in best) - 0.005
    )
    assert {score.images for score in scores} <= {int(share * scoring.images) for share in (*LOOKS, 1)}
    off = [abs(score.accuracy - accuracy) for score, accuracy in zip(scores, whole, strict=True)]
    assert sum(off) / len(off) < 0.05
    kept = [each for each, score in zip(off, scores, strict=True) if score.accuracy > 0.8]
    assert max(kept) < 0.02


def test_a_resumed_search_scores_like_an_undisturbed_one() -> None:
    played = policies(60)
    undisturbed = play(dropping(Answers()), played)
    resumed = dropping(Answers())
    for policy, score in zip(played[:25], undisturbed[:25], strict=True):
        resumed.recall(policy, score)
    assert play(resumed, played[25:]) == undisturbed[25:]


def test_what_is_over_the_budget_is_no_reference() -> None:
    scoring = dropping(Answers())
    play(scoring, [{"a": 89, "b": 1}, {"a": 50, "b": 2}, {"a": 89, "b": 3}])
    assert [policy for _, policy in scoring.known] == [{"a": 50, "b": 2}]


def test_a_policy_as_good_as_the_reference_is_dropped_as_rarely_as_promised() -> None:
    weights = torch.tensor([1.0] * 750 + [3.0] * 333 + [12.0] * 270)

    def dropped(favour: torch.Tensor, seed: int) -> bool:
        order = torch.randperm(len(weights), generator=torch.Generator().manual_seed(seed))
        ahead = (favour * weights)[order]
        return any(is_hopeless(ahead[: int(share * len(ahead))], 12.0) for share in LOOKS)

    alike = torch.zeros(len(weights), dtype=torch.float64)
    alike[:200:2], alike[1:200:2] = 1, -1
    heavy_wins = [torch.zeros(len(weights), dtype=torch.float64) for _ in (1, 2, 3, 5)]
    for wins, favour in zip((1, 2, 3, 5), heavy_wins, strict=True):  # few that weigh much, made up for by many others
        favour[-wins:], favour[: 12 * wins] = 1, -1
    for favour in (alike, *heavy_wins):
        assert sum(dropped(favour, seed) for seed in range(400)) <= LEVEL * 400
    worse = torch.zeros(len(weights), dtype=torch.float64)
    worse[:400], worse[-30:] = -1, -1
    assert sum(dropped(worse, seed) for seed in range(100)) > 90
    assert not is_hopeless(torch.zeros(10), 12.0)


def test_whole_scores_are_the_accuracy() -> None:
    model, data = load_model_and_data("plain20", "digits", None)
    part = data.search
    scorer, everyone = PartScorer(part), torch.arange(len(part))
    assert scorer(model.eval()) == pytest.approx(evaluate(model, part), abs=2 / len(part))
    network = scorer.prepared(model)
    pieces = [scorer.right(network, everyone[:20]), scorer.right(network, everyone[20:])]
    assert torch.equal(torch.cat(pieces), scorer.right(network, everyone))
    margins, right = scorer.margins(network, everyone), scorer.right(network, everyone)
    assert right[margins > 0].all()
    assert not right[margins < 0].any()


class Recurrent(nn.Module):
    """One block, used three times, whose map is written to through a view."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = self.block(x)
            x.view(len(x), -1)[:, ::3] += 0.1
        return self.head(x.mean((2, 3)))


def test_a_network_is_scored_and_not_what_a_rewrite_makes_of_it() -> None:
    torch.manual_seed(0)
    model, part = Recurrent().eval(), load_data("digits").search
    model.block[1].running_mean.uniform_(-1, 1)
    model.block[1].running_var.uniform_(0.1, 2)
    images, labels = next(part.batches(50))
    with torch.no_grad():
        logits = model(images)
    own = logits.gather(1, labels[:, None])[:, 0]
    wanted = own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    scorer = PartScorer(part)
    found = scorer.margins(scorer.prepared(model), torch.arange(50))
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)  # some processors score in bfloat16
