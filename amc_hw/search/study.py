"""A search from the first episode to the last, logged so that a kill loses at most the episode under way."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from amc_hw.budget.cost import Cost
from amc_hw.errors import RunFolderError, UsageError
from amc_hw.policy import Policy
from amc_hw.runs.record_files import EpisodeLog
from amc_hw.runs.records import Episode
from amc_hw.runs.values import Facts
from amc_hw.search.rewards import Reward
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Result, Strategy

LEAST_REWARD = -1.0
"""Of a policy that keeps the budget, under a reward that needs one: an error of 1."""

LAST_DIGITS = 1e-9
"""Relative difference of what two versions compute, who add in another order."""

BEST_REWARD = 0.0
"""Of a policy without any error, under every reward."""

LEAST_SHARE = 4
"""One of so many episodes are had at least, also where much is known or little can be told."""


@dataclass(frozen=True)
class Score:
    """An accuracy, 0..1, and how many images it was found on where that is known."""

    accuracy: float
    images: int | None = None


@dataclass(frozen=True)
class StudyResult:
    """Every episode of a study, in order, and why it ended before the last planned one, if it did."""

    episodes: tuple[Episode, ...]
    ended: str = ""

    @property
    def best(self) -> Episode:
        """The episode with the highest reward; the earliest of equals."""
        return max(self.episodes, key=lambda episode: episode.reward)

    def top(self, count: int) -> tuple[Episode, ...]:
        """Return the best episodes with ``count`` different policies (fewer where there are not so many)."""
        distinct: dict[tuple[tuple[str, int], ...], Episode] = {}
        for episode in sorted(self.episodes, key=lambda episode: -episode.reward):
            distinct.setdefault(_key(episode.channels), episode)
        return tuple(distinct.values())[:count]


class Scorer(Protocol):
    """Says how good policies are."""

    @property
    def images(self) -> int | None:
        """On how many images a policy is scored that is not dropped early; None where that means nothing."""

    def score(self, policy: Policy) -> float | Score:
        """Return a policy's accuracy, 0..1; asked once for each different policy."""

    def recall(self, policy: Policy, score: Score) -> None:
        """Take the score of every episode, those of the log included."""


class FunctionScorer:
    """Scores by a function of the policy that depends on nothing else.

    Args:
        accuracy: of a policy, 0..1.
    """

    images: int | None = None

    def __init__(self, accuracy: Callable[[Policy], float | Score]) -> None:
        self._accuracy = accuracy

    def score(self, policy: Policy) -> float | Score:
        """See `Scorer.score`."""
        return self._accuracy(policy)

    def recall(self, policy: Policy, score: Score) -> None:
        """Need nothing."""


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        space: the policies, their cost, and the limits that they have to keep.
        reward: what accuracy and cost are worth. What is over the limits (a strategy's way down to them) is worth less
            than anything that keeps them, so that it is never the best.
        episodes: how many to have at the end; a log that already holds more is kept whole.
        settings: everything the episodes depend on, as plain JSON values; a log made with others is refused.
        metrics: further costs to record, by the name of their key in the log.
        enough: so many different policies without any error end the search: no later one can be among the best
            ``enough``, since of equals the earliest counts.
        attained: accuracy from which scores do not tell policies apart any more; so many policies that have it end the
            search, too, once `LEAST_SHARE` of the episodes are over.
        settled: so many episodes in a row whose policies were all scored before end the search, too.
    """

    space: SearchSpace
    reward: Reward
    episodes: int
    settings: Mapping[str, object]
    metrics: Mapping[str, Cost] = field(default_factory=dict)
    enough: int | None = None
    settled: int | None = None
    attained: float = math.inf

    def reward_of(self, policy: Policy, accuracy: float, cost: float) -> float:
        """Return what a policy is worth."""
        used = 0.0 if self.space.bounds is None else self.space.share_used(policy)
        return self.reward(accuracy, cost, self.space.cost.metric) if used <= 1 else LEAST_REWARD - used

    def end(self, done: Sequence[Episode], repeats: int) -> str:
        """Return why nothing better can be hoped for, or nothing where it can."""
        within = [each for each in done if each.reward >= LEAST_REWARD]
        faultless = {_key(each.channels) for each in within if each.reward >= BEST_REWARD}
        alike = {_key(each.channels) for each in within if each.accuracy >= self.attained}
        if self.enough is not None and len(faultless) >= self.enough:
            return "no policy can score better"
        if self.enough is not None and len(alike) >= self.enough and len(done) * LEAST_SHARE >= self.episodes:
            return f"{len(alike)} policies are as accurate as the original, and so few images tell no more"
        if self.settled is not None and repeats >= self.settled:
            return f"the last {self.settled} found no policy that was not scored before"
        return ""


Watch = Callable[[int, int, StudyResult], None]
"""Is given the episodes done, their number in all, and the study so far."""


def run_study(
    problem: Problem, strategy: Strategy, scorer: Scorer, log_path: Path, watch: Watch | None = None
) -> StudyResult:
    """Run a search, or go on with one where its log ends.

    A log is resumed by telling the fresh strategy the recorded episodes again, so the log is the only state. An
    episode whose line is damaged or missing is scored again, and its line is put back.

    Args:
        problem: what is searched.
        strategy: fresh, built with the same seed and for the same planned episodes as the log's.
        scorer: says how good a policy is.
        log_path: JSON lines, created where missing; the first line holds the settings.
        watch: sees every episode.

    Raises:
        UsageError: no episodes are asked for, or the scorer returned no fraction.
        RunFolderError: the log is damaged, was made with other settings, or does not repeat.
    """
    if problem.episodes < 1:
        raise UsageError(f"a search of {problem.episodes} episodes finds nothing; ask for at least 1.")
    log = _Log(EpisodeLog(log_path), problem)
    done: list[Episode] = []
    scores: dict[tuple[tuple[str, int], ...], Score] = {}
    total, repeats = max(problem.episodes, log.last + 1), 0
    for number in range(total):
        started = time.perf_counter()
        policy = strategy.ask()
        repeats = repeats + 1 if _key(policy) in scores else 0
        episode = log.recorded(number, policy)
        if episode is None:
            score = scores.get(_key(policy)) or _checked(scorer.score(policy))
            episode = _episode(problem, number, policy, score, started)
            log.write(episode)
        strategy.tell(policy, Result(episode.accuracy, episode.reward, episode.cost))
        images = episode.metrics.get("images")
        scores[_key(policy)] = Score(episode.accuracy, None if images is None else int(images))
        scorer.recall(policy, scores[_key(policy)])
        done.append(episode)
        if watch is not None:
            watch(number + 1, total, StudyResult(tuple(done)))
        if ended := problem.end(done, repeats):
            return StudyResult(tuple(done), ended)
    return StudyResult(tuple(done))


def _episode(problem: Problem, number: int, policy: Policy, score: Score, started: float) -> Episode:
    cost = problem.space.cost(policy)
    metrics: dict[str, float] = {name: metric(policy) for name, metric in problem.metrics.items()}
    if score.images is not None:
        metrics["images"] = score.images
    return Episode(
        episode=number,
        channels=dict(policy),
        accuracy=score.accuracy,
        reward=problem.reward_of(policy, score.accuracy, cost),
        cost=cost,
        metrics=metrics,
        seconds=time.perf_counter() - started,
    )


class _Log:
    """The log of one problem: what is recorded is held against what the search does."""

    def __init__(self, log: EpisodeLog, problem: Problem) -> None:
        self._log, self._cost = log, problem.space.cost
        self._recorded = _read(log, problem.settings)
        self.last = max(self._recorded, default=-1)

    def recorded(self, number: int, policy: Policy) -> Episode | None:
        """Return an episode of the log, or None where it has to be scored."""
        episode = self._recorded.get(number)
        if episode is None:
            return None
        same = _key(episode.channels) == _key(policy)
        if not (same and math.isclose(episode.cost, self._cost(policy), rel_tol=LAST_DIGITS)):
            raise RunFolderError(
                f"episode {number} of {self._log.path} is not what this search does (the log was made with another "
                "network, latency table, machine or version); choose another run folder."
            )
        return episode

    def write(self, episode: Episode) -> None:
        """Write an episode behind the last one, or into its gap."""
        if episode.episode > self.last:
            self._log.append(episode)
        else:
            self._log.insert(episode)


def read_study(log_path: Path) -> StudyResult:
    """Read a study's log; raise RunFolderError where it is missing, empty, damaged or of another format."""
    log = EpisodeLog(log_path).read()
    log.warn("they are left out")
    episodes = log.episodes
    if not episodes:
        raise RunFolderError(f"{log_path} holds no episode; run the search first.")
    return StudyResult(tuple(episodes))


def _read(log: EpisodeLog, settings: Mapping[str, object]) -> dict[int, Episode]:
    """Return the episodes of a log made with ``settings`` by number; start the log where there is none."""
    wanted: Facts = json.loads(json.dumps(settings))
    found = log.read()
    header = found.header
    if header is None:
        log.begin(wanted)
        return {}
    missing = "nothing"
    for key in {**header.settings, **wanted}:
        there, here = header.settings.get(key, missing), wanted.get(key, missing)
        if not _is_same(there, here):
            raise RunFolderError(
                f"{log.path} was made with other settings ({key}: {there} there, {here} now); "
                "choose another run folder."
            )
    if found.unreadable:
        found.warn("what they held is scored again")
        log.rewrite(header, found.episodes)
    return {episode.episode: episode for episode in found.episodes}


def _is_same(there: JsonValue, here: JsonValue) -> bool:
    """Tell whether settings are equal, but for the last digits of what was computed: versions add otherwise."""
    if isinstance(there, dict) and isinstance(here, dict):
        return there.keys() == here.keys() and all(_is_same(there[name], here[name]) for name in there)
    if isinstance(there, float) and isinstance(here, float):
        return math.isclose(there, here, rel_tol=LAST_DIGITS)
    return there == here


def _checked(answer: float | Score) -> Score:
    """Return the scorer's answer, which has to be a fraction (this also refuses NaN)."""
    score = answer if isinstance(answer, Score) else Score(float(answer))
    if not 0.0 <= score.accuracy <= 1.0:
        raise UsageError(f"the evaluation returned {score.accuracy}; it must return a fraction between 0 and 1.")
    return score


def _key(policy: Policy) -> tuple[tuple[str, int], ...]:
    return tuple(policy.items())
