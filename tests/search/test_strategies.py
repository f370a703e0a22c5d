"""What every strategy promises, whatever its idea."""

from __future__ import annotations

import pytest

from amc_hw.budget.bounds import Limit
from amc_hw.budget.cost import Cost, Term
from amc_hw.errors import UsageError
from amc_hw.search.auto import AutoStrategy
from amc_hw.search.rewards import find_reward, with_floor
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import STRATEGIES, build_strategy
from amc_hw.search.strategy import Result
from amc_hw.search.study import FunctionScorer, Problem, run_study

OVER_BUDGET = ("ddpg-multi", "greedy")  # they score policies over the budget, too


@pytest.fixture(params=sorted(STRATEGIES))
def name(request, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(AutoStrategy, "children", 8)  # what is promised here does not depend on how well it proposes
    return request.param


def play(name, space, accuracy, seed, episodes, planned=None):
    strategy = build_strategy(name, space, seed=seed, episodes=planned or episodes)
    policies = []
    for _ in range(episodes):
        policy = dict(strategy.ask())
        score = accuracy(policy)
        strategy.tell(policy, Result(score, score - 1, space.cost(policy)))
        policies.append(policy)
    return policies


def test_the_budget_is_kept_on_200_tables(name, problem) -> None:
    for seed in range(200):
        made = problem(seed)
        policies = play(name, made.space(), made.accuracy, seed, episodes=6 if name == "auto" and seed < 20 else 2)
        for policy in policies[:1] if name in OVER_BUDGET else policies:
            assert made.cost(policy) <= made.budget
        for policy in policies:
            assert list(policy) == [step.group for step in made.steps]
            assert all(policy[step.group] in step.choices for step in made.steps)


def test_the_best_of_a_search_keeps_the_budget(name, problem, tmp_path) -> None:
    """Policies over the budget, those on greedy's way down or of ddpg-multi's looser targets, are never the best."""
    over = 0
    for seed in range(30):
        made = problem(seed, groups=3)
        space = made.space()
        study = run_study(
            Problem(space, find_reward("resource"), 10, {}),
            build_strategy(name, space, seed=seed, episodes=10),
            FunctionScorer(made.accuracy),
            tmp_path / f"{seed}.jsonl",
        )
        assert study.best.cost <= made.budget
        over += sum(episode.cost > made.budget for episode in study.episodes)
    assert bool(over) == (name in OVER_BUDGET)


def test_several_limits_hold_at_once(name, problem, tmp_path) -> None:
    for seed in range(20):
        made = problem(seed, groups=4)
        size = Cost("params", [Term((s.group,), lambda channels: 10.0 * channels[0]) for s in made.steps])
        most = 0.6 * size({s.group: s.choices[-1] for s in made.steps}) + 0.4 * size(made.space().bounds.floor)
        space = SearchSpace(made.steps, made.cost, made.budget, [Limit(size, most)])
        study = run_study(
            Problem(space, find_reward("resource"), 8, {}),
            build_strategy(name, space, seed=seed, episodes=8),
            FunctionScorer(made.accuracy),
            tmp_path / f"{seed}.jsonl",
        )
        assert made.cost(study.best.channels) <= made.budget
        assert size(study.best.channels) <= most


def test_the_same_seed_gives_the_same_policies(name, problem) -> None:
    made = problem(1, groups=9)
    first, again, other = (play(name, made.space(), made.accuracy, seed, episodes=12) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_it_searches_without_a_budget(name, problem) -> None:
    made = problem(2, groups=5)
    space = SearchSpace(made.steps, made.cost)
    policies = play(name, space, made.accuracy, seed=0, episodes=12)
    assert len({tuple(policy.values()) for policy in policies}) > 3


def test_the_best_of_a_search_keeps_the_floor_where_any_policy_does(name, problem, tmp_path) -> None:
    floor, both = 0.85, 0
    for seed in range(8):
        made = problem(seed, groups=3)
        space = SearchSpace(made.steps, made.cost)
        reward = with_floor(find_reward("accuracy_guaranteed"), floor, space.original_cost)
        study = run_study(
            Problem(space, reward, 10, {}),
            build_strategy(name, space, seed=seed, episodes=10),
            FunctionScorer(lambda policy, made=made: 0.95 * made.accuracy(policy)),
            tmp_path / f"{seed}",
        )
        kept = [episode.accuracy >= floor for episode in study.episodes]
        assert study.best.accuracy >= floor or not any(kept)
        both += any(kept) and not all(kept)
    assert both


def test_one_group_with_one_choice_is_enough(name, problem) -> None:
    made = next(made for made in map(problem, range(100)) if [len(step.choices) for step in made.steps] == [1])
    assert play(name, made.space(), made.accuracy, seed=0, episodes=6) == [made.space().original] * 6


@pytest.mark.parametrize("cut", [0.02, 0.31, 0.5, 0.77, 0.995])
def test_a_search_that_was_killed_goes_on_to_the_same_end(name, problem, tmp_path, cut: float) -> None:
    made = problem(4, groups=4)

    def search(path, episodes):
        problem = Problem(made.space(), find_reward("resource"), episodes, {"strategy": name, "seed": 3})
        strategy = build_strategy(name, made.space(), seed=3, episodes=10)
        return run_study(problem, strategy, FunctionScorer(made.accuracy), path)

    whole = search(tmp_path / "whole.jsonl", 10)
    content = (tmp_path / "whole.jsonl").read_bytes()
    killed = tmp_path / "killed.jsonl"
    killed.write_bytes(content[: int(cut * len(content))])
    resumed = search(killed, 10)
    assert [(e.episode, e.channels, e.accuracy, e.reward) for e in resumed.episodes] == [
        (e.episode, e.channels, e.accuracy, e.reward) for e in whole.episodes
    ]
    assert resumed.best.channels == whole.best.channels
    assert killed.read_text().count("\n") == 11


def test_more_episodes_never_give_a_worse_best(name, problem, tmp_path) -> None:
    made = problem(6, groups=5)
    best = []
    for episodes in (1, 4, 8, 16):
        strategy = build_strategy(name, made.space(), seed=0, episodes=16)
        problem = Problem(made.space(), find_reward("resource"), episodes, {})
        study = run_study(problem, strategy, FunctionScorer(made.accuracy), tmp_path / "log.jsonl")
        assert len(study.episodes) == episodes
        best.append(study.best.reward)
    assert best == sorted(best)


def test_an_unknown_strategy_names_the_nearest(problem) -> None:
    with pytest.raises(UsageError, match="did you mean 'random'"):
        build_strategy("randon", problem(0).space(), seed=0, episodes=1)


def test_uniform_begins_with_the_largest_ratio_that_fits(problem) -> None:
    for seed in range(50):
        made = problem(seed)
        first = play("uniform", made.space(), made.accuracy, seed, episodes=1)[0]
        kept = {step.group: [choice for choice in step.choices if choice] for step in made.steps}  # no block goes
        ratios = {choice / choices[-1] for choices in kept.values() for choice in choices}
        fitting = []
        for ratio in sorted(ratios):
            policy = {
                group: max([choice for choice in choices if choice / choices[-1] <= ratio], default=choices[0])
                for group, choices in kept.items()
            }
            if made.cost(policy) <= made.budget:
                fitting.append(policy)
        assert first == (fitting[-1] if fitting else made.space().bounds.floor)


def test_uniform_goes_on_close_to_it(problem) -> None:
    made = problem(1, groups=5)
    space = SearchSpace(made.steps, made.cost, budget=0.6 * made.cost(made.space().original))
    first, *others = play("uniform", space, made.accuracy, seed=0, episodes=30)
    sizes = {step.group: step.choices[-1] for step in made.steps}
    distance = [sum(abs(policy[g] - first[g]) / n for g, n in sizes.items()) / len(sizes) for policy in others]
    assert 0 < sum(distance) / len(distance) < 0.25


def test_who_weighs_channels_is_registered(name, problem) -> None:
    made = problem(4, groups=4)

    def asked(importance):
        strategy = build_strategy(name, made.space(), seed=0, episodes=12, importance=importance)
        for _ in range(12):
            policy = dict(strategy.ask())
            strategy.tell(policy, Result(made.accuracy(policy), made.accuracy(policy) - 1, made.cost(policy)))
            yield policy

    first_group_only = {step.group: [float(step is made.steps[0])] * step.choices[-1] for step in made.steps}
    assert (list(asked(None)) != list(asked(first_group_only))) == STRATEGIES[name].weighs_channels
