"""A hopeless policy sees a part of the images; what the search ends with is the same."""

from __future__ import annotations

import pytest
import torch

from amc_hw.finetune import evaluate
from amc_hw.stages.scoring import LEVEL, LOOKS, EarlyDropping, PartScorer, is_hopeless
from amc_hw.stages.subject import load_model_and_data

IMAGES = 2000


class Answers:
    """Stands in for a scorer: a network is its policy, which gets easier images right sooner."""

    part = range(IMAGES)

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.hardness = torch.rand(IMAGES, generator=draw)
        self.looked_at = 0

    def right(self, policy, start: int, stop: int) -> torch.Tensor:
        self.looked_at += stop - start
        noise = 0.1 * torch.randn(IMAGES, generator=torch.Generator().manual_seed(policy["b"]))
        return (self.hardness + noise < policy["a"] / 100)[start:stop]


def policies(count: int) -> list[dict[str, int]]:
    drawn = torch.randint(30, 90, (count,), generator=torch.Generator().manual_seed(1)).tolist()
    return [{"a": a, "b": number} for number, a in enumerate(drawn)]


def dropping(answers: Answers) -> EarlyDropping:
    return EarlyDropping(answers, lambda policy: policy, 3, lambda policy: policy["a"] != 89)  # type: ignore[arg-type]


def play(scoring: EarlyDropping, played):
    scores = []
    for policy in played:
        scores.append(scoring(policy))
        scoring.recall(policy, scores[-1])
    return scores


def test_the_best_are_those_of_whole_scores_for_a_fraction_of_the_images() -> None:
    answers, played = Answers(), [policy for policy in policies(200) if policy["a"] != 89]
    scores = play(dropping(answers), played)
    assert answers.looked_at < 0.4 * IMAGES * len(played)
    whole = [float(Answers().right(policy, 0, IMAGES).double().mean()) for policy in played]
    best = sorted(range(len(played)), key=lambda index: -whole[index])[:3]
    assert sorted(range(len(played)), key=lambda index: -scores[index].accuracy)[:3] == best
    for score, accuracy in zip(scores, whole, strict=True):
        if score.images == IMAGES:
            assert score.accuracy == pytest.approx(accuracy)
        else:
            assert score.images in [int(share * IMAGES) for share in LOOKS]
            assert abs(score.accuracy - accuracy) < 0.1


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
    draw = torch.Generator().manual_seed(0)
    pairs = [(torch.rand(2, 200, generator=draw) < 0.8) for _ in range(3000)]
    dropped = sum(is_hopeless(ours, theirs) for ours, theirs in pairs)
    assert dropped <= 3 * LEVEL / len(LOOKS) * len(pairs) + 2
    worse = [(torch.rand(200, generator=draw) < 0.5, torch.rand(200, generator=draw) < 0.8) for _ in range(50)]
    assert sum(is_hopeless(ours, theirs) for ours, theirs in worse) > 40


def test_whole_scores_are_the_accuracy() -> None:
    model, data = load_model_and_data("plain20", "digits", None)
    part = data.search
    scorer = PartScorer(part)
    assert scorer(model.eval()) == pytest.approx(evaluate(model, part), abs=2 / len(part))
    pieces = [scorer.right(model, 0, 20), scorer.right(model, 20, len(part))]
    assert torch.equal(torch.cat(pieces), scorer.right(model, 0, len(part)))
