"""A search from the first episode to the last, logged so that a kill loses at most the episode under way."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amc_hw.budget.cost import Cost
from amc_hw.errors import RunFolderError, UsageError
from amc_hw.policy import Policy
from amc_hw.runs.record_files import EpisodeLog
from amc_hw.runs.records import Episode, Facts
from amc_hw.search.rewards import Reward
from amc_hw.search.strategy import Result, Strategy

LEAST_REWARD = -1.0
"""Of a policy that keeps the budget, under a reward that needs one: an error of 1."""

BEST_REWARD = 0.0
"""Of a policy without any error, under every reward."""


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


def run_study(
    strategy: Strategy,
    cost: Cost,
    evaluate: Callable[[Policy], float | Score],
    reward: Reward,
    episodes: int,
    log_path: Path,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Cost] | None = None,
    load: Callable[[Policy], float] | None = None,
    recall: Callable[[Policy, Score], None] | None = None,
    progress: Callable[[int, int, StudyResult], None] | None = None,
    enough: int | None = None,
    settled: int | None = None,
) -> StudyResult:
    """Run a search, or go on with one where its log ends.

    A log is resumed by telling the fresh strategy the recorded episodes again, so the log is the only state. An
    episode whose line is damaged or missing is scored again, and its line is put back.

    Args:
        strategy: fresh, built with the same seed and for the same planned episodes as the log's.
        cost: the budget's cost.
        evaluate: a policy to its accuracy, 0..1; called once per different policy.
        reward: what accuracy and cost are worth.
        episodes: how many to have at the end; a log that already holds more is kept whole.
        log_path: JSON lines, created where missing; the first line holds the settings.
        settings: everything the episodes depend on, as plain JSON values; a log made with others is refused.
        metrics: further costs to record, by the name of their key in the log.
        load: the share of the budget that a policy uses; what is over it (a strategy's way down to the budget)
            is worth less than anything that keeps it, so that it is never the best.
        recall: told every score, those of the log included, for an evaluation that depends on earlier ones.
        progress: told the episodes done, their number in all, and the study so far.
        enough: so many different policies without any error end the search: no later one can be among the best
            ``enough``, since of equals the earliest counts.
        settled: so many episodes in a row whose policies were all scored before end the search, too.

    Raises:
        UsageError: no episodes are asked for, or ``evaluate`` returned no fraction.
        RunFolderError: the log is damaged, was made with other settings, or does not repeat.
    """
    if episodes < 1:
        raise UsageError(f"a search of {episodes} episodes finds nothing; ask for at least 1.")
    log = EpisodeLog(log_path)
    recorded = _read(log, settings)
    done: list[Episode] = []
    scores: dict[tuple[tuple[str, int], ...], Score] = {}
    total, repeats = max(episodes, max(recorded, default=-1) + 1), 0
    for number in range(total):
        started = time.perf_counter()
        policy = strategy.ask()
        new = _key(policy) not in scores
        if number in recorded:
            episode = recorded[number]
            same = _key(episode.channels) == _key(policy)
            if not (same and math.isclose(episode.cost, cost(policy), rel_tol=1e-9)):
                raise RunFolderError(
                    f"episode {number} of {log_path} is not what this search does (the log was made with another "
                    "network, latency table, machine or version); choose another run folder."
                )
        else:
            score = scores.get(_key(policy)) or _score(evaluate(policy))
            accuracy = score.accuracy
            value = cost(policy)
            used = 0.0 if load is None else load(policy)
            episode = Episode(
                episode=number,
                channels=dict(policy),
                accuracy=accuracy,
                reward=reward(accuracy, value, cost.metric) if used <= 1 else LEAST_REWARD - used,
                cost=value,
                metrics={name: extra(policy) for name, extra in (metrics or {}).items()}
                | ({} if score.images is None else {"images": score.images}),
                seconds=time.perf_counter() - started,
            )
            if number > max(recorded, default=-1):
                log.append(episode)
            else:
                log.insert(episode)
        strategy.tell(policy, Result(episode.accuracy, episode.reward, episode.cost))
        images = episode.metrics.get("images")
        scores[_key(policy)] = Score(episode.accuracy, None if images is None else int(images))
        if recall is not None:
            recall(policy, scores[_key(policy)])
        done.append(episode)
        if progress is not None:
            progress(number + 1, total, StudyResult(tuple(done)))
        if enough is not None and len({_key(each.channels) for each in done if each.reward >= BEST_REWARD}) >= enough:
            return StudyResult(tuple(done), "no policy can score better")
        repeats = 0 if new else repeats + 1
        if settled is not None and repeats >= settled:
            return StudyResult(tuple(done), f"the last {settled} found no policy that was not scored before")
    return StudyResult(tuple(done))


def read_study(log_path: Path) -> StudyResult:
    """Read a study's log; raise RunFolderError where it is missing, empty, damaged or of another format."""
    log = EpisodeLog(log_path).read()
    log.warn("they are left out")
    episodes = log.episodes
    if not episodes:
        raise RunFolderError(f"{log_path} holds no episode; run the search first.")
    return StudyResult(tuple(episodes))


def _read(log: EpisodeLog, settings: Mapping[str, Any]) -> dict[int, Episode]:
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
        if there != here:
            raise RunFolderError(
                f"{log.path} was made with other settings ({key}: {there} there, {here} now); "
                "choose another run folder."
            )
    if found.unreadable:
        found.warn("what they held is scored again")
        log.rewrite(header, found.episodes)
    return {episode.episode: episode for episode in found.episodes}


def _score(answer: float | Score) -> Score:
    """Return the evaluator's answer, which has to be a fraction (this also refuses NaN)."""
    score = answer if isinstance(answer, Score) else Score(float(answer))
    if not 0.0 <= score.accuracy <= 1.0:
        raise UsageError(f"the evaluation returned {score.accuracy}; it must return a fraction between 0 and 1.")
    return score


def _key(policy: Policy) -> tuple[tuple[str, int], ...]:
    return tuple(policy.items())
