"""One agent for several budgets: its turns, what it learns from, and what another search makes of it."""

from __future__ import annotations

import statistics

import pytest
import torch
from toy_search import play_toy, toy

from amc_hw.budget.bounds import Limit
from amc_hw.budget.cost import Cost, Term
from amc_hw.errors import UsageError
from amc_hw.search.agent_file import load_agent, save_agent
from amc_hw.search.ddpg import Hyperparameters
from amc_hw.search.ddpg_strategies import DdpgMultiStrategy, TargetAgent, target_spaces
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import build_strategy
from amc_hw.search.strategy import Result, Strategy


def search(strategy: Strategy, space: SearchSpace, episodes: int) -> list[float]:
    """Return the losses of the episodes of the run's own target."""
    found = []
    for _ in range(episodes):
        own = getattr(strategy, "turn", 0) == 0
        error = play_toy(strategy, space)
        found += [error] if own else []
    return found


@pytest.fixture(scope="module")
def trained() -> tuple[DdpgMultiStrategy, list[float]]:
    """A search of 120 episodes, with the losses at its own target."""
    space = toy()
    strategy = build_strategy("ddpg-multi", space, seed=0, episodes=120)
    assert isinstance(strategy, DdpgMultiStrategy)
    return strategy, search(strategy, space, 120)


def test_it_learns_a_toy_problem_with_a_known_best_policy(trained) -> None:
    _, learned = trained
    space = toy()
    drawn = search(build_strategy("random", space, seed=0, episodes=120), space, 120)
    assert min(learned) < 0.7 * min(drawn)
    assert statistics.mean(learned[-10:]) < 0.5 * statistics.mean(drawn)


def test_a_trained_agent_does_better_at_another_budget_than_a_fresh_one(trained, tmp_path) -> None:
    strategy, _ = trained
    save_agent(tmp_path / "agent.pt", strategy.agent, strategy.space.steps)
    space = toy(share=0.8)
    reused = build_strategy("ddpg-multi", space, seed=1, episodes=40, agent=tmp_path / "agent.pt")
    fresh = build_strategy("ddpg-multi", space, seed=1, episodes=40)
    assert (reused.parameters.warmup, fresh.parameters.warmup) == (4, 10)
    loss = [statistics.mean(search(each, space, 40)[3:]) for each in (reused, fresh)]
    assert loss[0] < 0.7 * loss[1]


def test_an_agent_in_a_file_acts_as_before(trained, tmp_path) -> None:
    strategy, _ = trained
    save_agent(tmp_path / "agent.pt", strategy.agent, strategy.space.steps)
    read = TargetAgent(strategy.space.state_size + 1, 12, 5, Hyperparameters())
    load_agent(tmp_path / "agent.pt", read, strategy.space.steps)
    state, action = torch.rand(7, strategy.space.state_size + 1), torch.rand(7, 1)
    for actor in (read.actor, read.target_actor):
        assert torch.equal(actor(state), strategy.agent.actor(state))
    for critic in (read.critic, read.target_critic):
        assert torch.equal(critic(state, action), strategy.agent.critic(state, action))


def test_the_agent_of_another_network_is_refused(trained, problem, tmp_path) -> None:
    strategy, _ = trained
    save_agent(tmp_path / "agent.pt", strategy.agent, strategy.space.steps)
    with pytest.raises(UsageError, match=r"channel groups of another network; name the folder of a run"):
        build_strategy("ddpg-multi", problem(0).space(), seed=0, episodes=9, agent=tmp_path / "agent.pt")


@pytest.mark.parametrize("content", [None, b"", b"no weights", {"format": 1}, {"format": 2}, [1], {"weights": 1}])
def test_what_is_no_agent_is_refused_in_a_sentence(content, tmp_path) -> None:
    file = tmp_path / "agent.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(UsageError, match=r"agent\.pt .*; name the folder of a run of the same network"):
        build_strategy("ddpg-multi", toy(), seed=0, episodes=9, agent=file)


def test_only_ddpg_multi_begins_with_an_agent(tmp_path) -> None:
    with pytest.raises(UsageError, match="leave agent= out, or add strategy=ddpg-multi"):
        build_strategy("ddpg", toy(), seed=0, episodes=9, agent=tmp_path)


def test_the_targets_lie_half_way_to_the_cheapest_and_to_the_original() -> None:
    space = toy()
    limits = [each.bounds.limits[0].most for each in target_spaces(space)]
    own, least, original = space.bounds.limits[0].most, 12 * 8000.0, 12 * 64000.0
    assert limits == [own, (own + least) / 2, (own + original) / 2]


def test_every_target_keeps_all_of_its_limits(problem) -> None:
    """A limit that is over the original stays where it is, and a budget at the floor has nothing tighter."""
    for seed in range(15):
        made = problem(seed, groups=4)
        size = Cost("params", [Term((s.group,), lambda channels: 10.0 * channels[0]) for s in made.steps])
        space = SearchSpace(made.steps, made.cost, made.budget, [Limit(size, 10 * size(made.space().original))])
        strategy = DdpgMultiStrategy(space, seed, Hyperparameters(warmup=4, hidden=8))
        for _ in range(9):
            target = strategy.targets[strategy.turn]
            policy = strategy.ask()
            assert target.keeps(policy)
            assert target.bounds.limits[1].most <= 10 * size(space.original)
            strategy.tell(policy, Result(made.accuracy(policy), 0.0, 0.0))
    tight = SearchSpace(toy().steps, toy().cost, budget=toy().cost(toy().bounds.floor))
    assert len(target_spaces(tight)) == 2


def test_turns_references_and_what_the_replay_holds() -> None:
    """First the uniform policies of all targets, then every second episode is the run's own."""
    space = toy()
    strategy = DdpgMultiStrategy(space, seed=0, parameters=Hyperparameters(warmup=20, hidden=8))
    turns, shares = [], []
    for episode in range(9):
        turns.append(strategy.turn)
        policy = strategy.ask()
        if episode < 3:
            shares.append({round(policy[group] / 64, 3) for group in policy})
        strategy.tell(policy, Result((0.5, 0.02, 0.8)[turns[-1]], -3.0, space.cost(policy)))
    assert turns == [0, 1, 2, 0, 1, 0, 2, 0, 1]
    assert all(len(share) == 1 for share in shares)
    assert max(shares[1]) < max(shares[0]) < max(shares[2])
    assert strategy.references == [0.5, 0.1, 0.8]
    rows, size = strategy.agent.replay.rows[: 9 * 12], space.state_size + 1
    targets = [each.bounds.limits[0].most / space.original_cost for each in strategy.targets]
    assert rows[::12, size - 1] == pytest.approx([targets[turn] for turn in turns])
    assert rows[:, size - 1] == pytest.approx(rows[:, -2])  # the target stays the same in the next state
    assert rows[::12, size + 1] == pytest.approx([(1.0, 0.2, 1.0)[turn] for turn in turns])


def test_every_target_has_a_baseline_of_its_own() -> None:
    agent = TargetAgent(2, 1, 0, Hyperparameters(hidden=8))
    state = torch.tensor([[0.0, 0.5], [0.1, 0.25], [0.2, 0.5]])
    first = agent.advantages(state, torch.tensor([[1.0], [5.0], [3.0]]))
    assert first.tolist() == [[-1.0], [0.0], [1.0]]
    second = agent.advantages(state[:1], torch.tensor([[4.0]]))
    assert agent.baselines == {0.5: 3.0, 0.25: 5.0}
    assert second.tolist() == [[1.0]]
