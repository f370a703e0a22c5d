from __future__ import annotations

from amc_hw.budget.cost import Cost, Term
from amc_hw.search.greedy import GreedyStrategy
from amc_hw.search.space import SearchSpace, Step
from amc_hw.search.strategy import Result


def accuracy(policy) -> float:
    """Channels of b cost three times the accuracy of those of a and c."""
    return 1.0 - ((16 - policy["a"]) + 3 * (16 - policy["b"]) + (16 - policy["c"])) / 100


def search(episodes: int):
    steps = [Step(g, tuple(range(2, 17)), (1.0,)) for g in "abc"]
    cost = Cost("macs", [Term((g,), lambda channels: float(channels[0])) for g in "abc"])
    space = SearchSpace(steps, cost, 28)
    strategy = GreedyStrategy(space, 0, episodes)
    played = []
    for _ in range(episodes):
        policy = dict(strategy.ask())
        score = accuracy(policy)
        strategy.tell(policy, Result(score, score - 1 if space.keeps(policy) else -2, cost(policy)))
        played.append(policy)
    return played, cost


def test_each_step_tries_every_group_alone_and_keeps_the_best() -> None:
    played, cost = search(13)  # the uniform policy, then four steps of three candidates
    assert played[0] == {"a": 9, "b": 9, "c": 9}
    assert played[1:4] == [{"a": 11, "b": 16, "c": 16}, {"a": 16, "b": 11, "c": 16}, {"a": 16, "b": 16, "c": 11}]
    assert played[4:7] == [{"a": 6, "b": 16, "c": 16}, {"a": 11, "b": 11, "c": 16}, {"a": 11, "b": 16, "c": 11}]
    assert [cost(policy) for policy in played[10:13]] == [28, 28, 28]
    best = max(played[10:], key=accuracy)
    assert best["b"] == 16


def test_after_the_last_step_the_best_is_varied() -> None:
    played, cost = search(30)
    assert all(cost(policy) <= 28 for policy in played[-2:])
    assert max(accuracy(policy) for policy in played if cost(policy) <= 28) == accuracy({"a": 6, "b": 16, "c": 6})
