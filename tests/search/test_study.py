from __future__ import annotations

import json

import pytest

from amc_hw.budget.cost import Cost, Term
from amc_hw.errors import RunFolderError, UsageError
from amc_hw.search.rewards import find_reward
from amc_hw.search.strategies import build_strategy
from amc_hw.search.study import LEAST_SHARE, FunctionScorer, Problem, read_study, run_study


class Search:
    """A small search whose evaluations are counted."""

    def __init__(self, made, log, name="random", seed=0) -> None:
        self.made, self.log, self.name, self.seed = made, log, name, seed
        self.evaluated: list[dict[str, int]] = []
        self.stop_at: int | None = None

    def evaluate(self, policy):
        if len(self.evaluated) == self.stop_at:
            raise KeyboardInterrupt
        self.evaluated.append(dict(policy))
        return self.made.accuracy(policy)

    def run(self, episodes, **more):
        space, scorer = self.made.space(), FunctionScorer(more.pop("evaluate", self.evaluate))
        watch, settings = more.pop("watch", None), more.pop("settings", {"seed": self.seed, "multiple": 8})
        strategy = build_strategy(self.name, space, seed=self.seed, episodes=20)
        problem = Problem(space, find_reward("resource"), episodes, settings, **more)
        return run_study(problem, strategy, scorer, self.log, watch)


@pytest.fixture
def search(problem, tmp_path) -> Search:
    return Search(problem(4, groups=4), tmp_path / "episodes.jsonl")


def test_every_episode_is_a_line_after_the_settings(search: Search) -> None:
    kept = Cost("params", [Term(("g0",), lambda channels: 3.0 * channels[0])])
    study = search.run(5, metrics={"params": kept})
    header, *lines = [json.loads(line) for line in search.log.read_text().splitlines()]
    assert header == {"format": 1, "settings": {"seed": 0, "multiple": 8}}
    assert [line["episode"] for line in lines] == [0, 1, 2, 3, 4]
    for line, episode in zip(lines, study.episodes, strict=True):
        assert set(line) == {"episode", "channels", "accuracy", "reward", "cost", "params", "seconds"}
        assert line["channels"] == episode.channels
        assert line["accuracy"] == search.made.accuracy(episode.channels)
        assert line["reward"] == pytest.approx(line["accuracy"] - 1)
        assert line["cost"] == search.made.cost(episode.channels) <= search.made.budget
        assert line["params"] == 3 * episode.channels["g0"]
        assert line["seconds"] >= 0
    assert read_study(search.log) == study


def test_the_same_policy_is_evaluated_once_even_after_a_resume(problem, tmp_path) -> None:
    made = next(made for made in map(problem, range(100)) if [len(step.choices) for step in made.steps] == [2])
    search = Search(made, tmp_path / "log.jsonl")
    search.run(12)
    assert len(search.evaluated) <= 2
    search.run(20)
    assert len(search.evaluated) == len({tuple(policy.items()) for policy in search.evaluated}) <= 2


def test_ctrl_c_loses_only_the_episode_under_way(search: Search) -> None:
    search.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        search.run(8)
    assert len(read_study(search.log).episodes) == 3
    search.stop_at = None
    study = search.run(8)
    assert len(study.episodes) == len(search.evaluated) == 8


def test_best_and_top_are_by_reward_and_distinct(search: Search) -> None:
    study = search.run(20)
    rewards = [episode.reward for episode in study.episodes]
    assert study.best.reward == max(rewards)
    assert study.best.episode == rewards.index(max(rewards))
    top = study.top(4)
    assert top[0] == study.best
    assert [episode.reward for episode in top] == sorted((e.reward for e in top), reverse=True)
    assert len({tuple(episode.channels.items()) for episode in top}) == 4
    distinct = {tuple(episode.channels.items()) for episode in study.episodes}
    assert len(study.top(1000)) == len(distinct)


def test_a_search_ends_when_nothing_can_be_better(search: Search) -> None:
    perfect = lambda policy: 1.0 if sum(policy.values()) % 3 else 0.9  # noqa: E731
    whole = search.run(20, evaluate=perfect)
    search.log.unlink()
    short = search.run(20, evaluate=perfect, enough=2)
    assert len(short.episodes) < len(whole.episodes)
    assert [each.channels for each in short.top(2)] == [each.channels for each in whole.top(2)]
    assert search.run(20, evaluate=perfect, enough=2) == short


def test_a_search_ends_when_its_scores_tell_no_more(search: Search) -> None:
    coarse = lambda policy: 0.9 if sum(policy.values()) % 3 else 0.8  # noqa: E731
    whole = search.run(20, evaluate=coarse)
    search.log.unlink()
    short = search.run(20, evaluate=coarse, enough=2, attained=0.9)
    assert 20 / LEAST_SHARE <= len(short.episodes) < 20
    assert "as accurate as the original" in short.ended
    assert [each.channels for each in short.top(2)] == [each.channels for each in whole.top(2)]
    assert search.run(20, evaluate=coarse, enough=2, attained=0.9) == short
    search.log.unlink()
    assert len(search.run(20, evaluate=coarse, enough=2, attained=0.91).episodes) == 20


def test_a_search_ends_when_it_finds_nothing_new(problem, tmp_path) -> None:
    made = next(made for made in map(problem, range(100)) if [len(step.choices) for step in made.steps] == [2])
    search = Search(made, tmp_path / "log.jsonl")
    study = search.run(20, settled=5)
    repeated = [study.episodes.index(each) for each in study.top(2)]
    assert len(study.episodes) == max(repeated) + 1 + 5
    assert "not scored before" in study.ended
    assert search.run(20, settled=5) == study
    assert len(search.run(20).episodes) == 20


def test_progress_tells_the_best_so_far(search: Search) -> None:
    told = []
    study = search.run(6, watch=lambda done, total, study: told.append((done, total, study.best.reward)))
    assert [(done, total) for done, total, _ in told] == [(i, 6) for i in range(1, 7)]
    assert told[-1][2] == study.best.reward


def test_a_log_that_holds_more_is_kept_whole(search: Search) -> None:
    longer = search.run(9)
    assert search.run(2) == longer


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": 1, "multiple": 8}, "seed: 0 there, 1 now"),
        ({"seed": 0}, "multiple: 8 there, nothing now"),
        ({"seed": 0, "multiple": 8, "limit": 2.5}, "limit: nothing there, 2.5 now"),
    ],
)
def test_a_log_of_other_settings_is_refused_and_left_alone(search: Search, settings, words: str) -> None:
    search.run(3)
    before = search.log.read_bytes()
    with pytest.raises(RunFolderError, match=words) as refusal:
        search.run(3, settings=settings)
    assert "choose another run folder" in str(refusal.value)
    assert search.log.read_bytes() == before


def test_the_last_digits_of_a_limit_are_no_other_setting(search: Search) -> None:
    search.run(2, settings={"limit": 1.2345678901234567, "limits": {"a": 0.1 + 0.2}})
    search.run(3, settings={"limit": 1.2345678901234569, "limits": {"a": 0.3}})
    with pytest.raises(RunFolderError, match="limits"):
        search.run(3, settings={"limit": 1.2345678901234567, "limits": {"a": 0.3001}})


def test_settings_are_compared_as_json(search: Search) -> None:
    search.run(2, settings={"sizes": (1, 2), "nested": {"a": None}})
    search.run(3, settings={"sizes": [1, 2], "nested": {"a": None}})
    assert len(read_study(search.log).episodes) == 3


def test_a_log_that_does_not_repeat_is_refused(search: Search) -> None:
    search.run(3)
    search.seed = 1
    with pytest.raises(RunFolderError, match=r"episode 0 of .* choose another run folder"):
        search.run(5, settings={"seed": 0, "multiple": 8})


LINE = (
    '{"format": 1, "settings": {"seed": 0, "multiple": 8}}\n{"episode": %(number)s, "channels": {"a": 8}, '
    '"accuracy": %(accuracy)s, "reward": 0, "cost": 1, "seconds": 1}\n'
)


@pytest.mark.parametrize(
    "content",
    [
        '{"episode": 0}\n',
        '{"format": 1}\n',
        "[]\n",
        "3\n",
        '{"format": 2, "settings": {}}\n',
        '{"format": 1, "settings": {"seed": 0, "multiple": 8}}\n{"episode": 0, "channels": 3}\n',
        '{"format": 1, "settings": {"seed": 0, "multiple": 8}}\nnull\n',
        LINE % {"number": "1e999", "accuracy": "0.5"},
        LINE % {"number": "0", "accuracy": "NaN"},
        LINE % {"number": "0", "accuracy": "50"},
        '{"format": 1, "settings": [1, 2]}\n',
    ],
)
def test_what_is_no_log_is_refused_in_a_sentence(search: Search, content: str) -> None:
    search.log.write_text(content)
    with pytest.raises(RunFolderError, match="run folder"):
        search.run(3)
    with pytest.raises(RunFolderError, match="run folder"):
        read_study(search.log)


@pytest.mark.parametrize("lost", [{1}, {3, 4}, {6}, {1, 3, 6}])
@pytest.mark.parametrize("damage", [lambda line: line[:30], lambda line: "\x00" * len(line), None])
@pytest.mark.parametrize("name", ["random", "ddpg"])
def test_a_damaged_line_costs_its_own_episode_only(search: Search, caplog, lost, damage, name: str) -> None:
    search.name = name
    expected = search.run(6).episodes
    lines = search.log.read_text().splitlines()
    changed = [(damage(line) if damage else None) if i in lost else line for i, line in enumerate(lines)]
    search.log.write_text("".join(f"{line}\n" for line in changed if line is not None))
    kept = read_study(search.log).episodes
    assert [each.episode for each in kept] == [i - 1 for i in range(1, 7) if i not in lost]
    search.evaluated.clear()
    again = search.run(8)
    assert len(search.evaluated) <= len(lost) + 2
    assert [(each.channels, each.reward) for each in again.episodes[:6]] == [(e.channels, e.reward) for e in expected]
    after = [json.loads(line) for line in search.log.read_text().splitlines()]
    assert [line["episode"] for line in after[1:]] == list(range(8))
    assert [json.loads(lines[i]) for i in range(7) if i not in lost] == [after[i] for i in range(7) if i not in lost]
    assert ("damaged lines" in caplog.text) == (damage is not None)


def test_a_damaged_first_line_is_refused_with_the_cure(search: Search) -> None:
    search.run(3)
    search.log.write_text("?" + search.log.read_text())
    with pytest.raises(RunFolderError, match=r"line 1 of .* move it away to search anew"):
        search.run(3)


@pytest.mark.parametrize("content", [None, "", '{"format": 1, "settings": {}}\n'])
def test_reading_a_study_without_an_episode_says_what_to_run(tmp_path, content: str | None) -> None:
    log = tmp_path / "episodes.jsonl"
    if content is not None:
        log.write_text(content)
    with pytest.raises(RunFolderError, match="run the search first"):
        read_study(log)


def test_a_log_of_another_table_is_refused(search: Search) -> None:
    search.run(3)
    lines = search.log.read_text().splitlines()
    line = json.loads(lines[2])
    lines[2] = json.dumps({**line, "cost": line["cost"] * 1.01})
    search.log.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunFolderError, match=r"episode 1 of .* latency table.* choose another run folder"):
        search.run(5)


@pytest.mark.parametrize("answer", [91.7, -0.1, float("nan")])
def test_an_evaluation_that_is_no_fraction_is_refused(search: Search, answer: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        search.run(1, evaluate=lambda policy: answer)


def test_no_episodes_are_refused(search: Search) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        search.run(0)
