"""A search from the first episode to the last, logged so that a kill loses at most the episode under way."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amc_hw.budget.cost import Cost
from amc_hw.errors import RunFolderError, UsageError
from amc_hw.policy import Policy
from amc_hw.runs.files import append_line, read_lines
from amc_hw.search.rewards import Reward
from amc_hw.search.strategy import Result, Strategy

LEAST_REWARD = -1.0
"""Of a policy that keeps the budget, under a reward that needs one: an error of 1."""

BEST_REWARD = 0.0
"""Of a policy without any error, under every reward."""

FORMAT = 1  # 1: a first line with the settings, then one line per episode


@dataclass(frozen=True)
class Score:
    """An accuracy, 0..1, and how many images it was found on where that is known."""

    accuracy: float
    images: int | None = None


@dataclass(frozen=True)
class Episode:
    """One scored policy: a line of ``episodes.jsonl``.

    Attributes:
        number: counts from 0.
        policy: channels kept for every group.
        accuracy: on the search split, 0..1.
        reward: what the strategy was told.
        cost: in the unit of the budget's metric.
        metrics: further costs by name.
        seconds: from asking for the policy to its score.
    """

    number: int
    policy: Policy
    accuracy: float
    reward: float
    cost: float
    metrics: Mapping[str, float]
    seconds: float


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
            distinct.setdefault(_key(episode.policy), episode)
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

    A log is resumed by telling the fresh strategy the recorded episodes again, so the log is the only state.

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
    recorded = _read(log_path, settings)
    done: list[Episode] = []
    scores: dict[tuple[tuple[str, int], ...], Score] = {}
    total, repeats = max(episodes, len(recorded)), 0
    for number in range(total):
        started = time.perf_counter()
        policy = strategy.ask()
        new = _key(policy) not in scores
        if number < len(recorded):
            episode = recorded[number]
            same = (episode.number, _key(episode.policy)) == (number, _key(policy))
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
                number=number,
                policy=dict(policy),
                accuracy=accuracy,
                reward=reward(accuracy, value, cost.metric) if used <= 1 else LEAST_REWARD - used,
                cost=value,
                metrics={name: extra(policy) for name, extra in (metrics or {}).items()}
                | ({} if score.images is None else {"images": score.images}),
                seconds=time.perf_counter() - started,
            )
            append_line(log_path, _to_line(episode))
        strategy.tell(policy, Result(episode.accuracy, episode.reward, episode.cost))
        images = episode.metrics.get("images")
        scores[_key(policy)] = Score(episode.accuracy, None if images is None else int(images))
        if recall is not None:
            recall(policy, scores[_key(policy)])
        done.append(episode)
        if progress is not None:
            progress(number + 1, total, StudyResult(tuple(done)))
        if enough is not None and len({_key(each.policy) for each in done if each.reward >= BEST_REWARD}) >= enough:
            return StudyResult(tuple(done), "no policy can score better")
        repeats = 0 if new else repeats + 1
        if settled is not None and repeats >= settled:
            return StudyResult(tuple(done), f"the last {settled} found no policy that was not scored before")
    return StudyResult(tuple(done))


def read_study(log_path: Path) -> StudyResult:
    """Read a study's log; raise RunFolderError where it is missing, empty, damaged or of another format."""
    lines = read_lines(log_path)
    episodes = _episodes(log_path, lines) if lines else []
    if not episodes:
        raise RunFolderError(f"{log_path} holds no episode; run the search first.")
    return StudyResult(tuple(episodes))


def _read(log_path: Path, settings: Mapping[str, Any]) -> list[Episode]:
    """Return the episodes of a log made with ``settings``; start the log where there is none."""
    wanted = json.loads(json.dumps(settings))
    lines = read_lines(log_path)
    if not lines:
        append_line(log_path, {"format": FORMAT, "settings": wanted})
        return []
    episodes = _episodes(log_path, lines)
    found = lines[0]["settings"]
    missing = "nothing"
    for key in {**found, **wanted}:
        there, here = found.get(key, missing), wanted.get(key, missing)
        if there != here:
            raise RunFolderError(
                f"{log_path} was made with other settings ({key}: {there} there, {here} now); "
                "choose another run folder."
            )
    return episodes


def _episodes(log_path: Path, lines: list[Any]) -> list[Episode]:
    """Check the first line and turn the others into episodes."""
    with _damage_named(log_path):
        if lines[0]["format"] != FORMAT:
            raise RunFolderError(
                f"{log_path} has format {lines[0]['format']}, and this version reads format {FORMAT}; "
                "choose another run folder."
            )
        dict(lines[0]["settings"])
        return [_from_line(dict(line)) for line in lines[1:]]


@contextmanager
def _damage_named(log_path: Path) -> Iterator[None]:
    """Turn a line without the right keys into one sentence."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise RunFolderError(
            f"{log_path} is no log of a search; move it away to search anew, or choose another run folder."
        ) from error


def _to_line(episode: Episode) -> dict[str, Any]:
    return {
        "episode": episode.number,
        "channels": episode.policy,
        "accuracy": episode.accuracy,
        "reward": episode.reward,
        "cost": episode.cost,
        **episode.metrics,
        "seconds": episode.seconds,
    }


def _from_line(line: dict[str, Any]) -> Episode:
    episode = Episode(
        number=int(line.pop("episode")),
        policy={str(group): int(channels) for group, channels in line.pop("channels").items()},
        accuracy=float(line.pop("accuracy")),
        reward=float(line.pop("reward")),
        cost=float(line.pop("cost")),
        seconds=float(line.pop("seconds")),
        metrics={name: float(value) for name, value in line.items()},
    )
    numbers = (episode.reward, episode.cost, episode.seconds, *episode.metrics.values())
    if not (0 <= episode.accuracy <= 1 and all(map(math.isfinite, numbers))):
        raise ValueError("no episode has such numbers")
    return episode


def _score(answer: float | Score) -> Score:
    """Return the evaluator's answer, which has to be a fraction (this also refuses NaN)."""
    score = answer if isinstance(answer, Score) else Score(float(answer))
    if not 0.0 <= score.accuracy <= 1.0:
        raise UsageError(f"the evaluation returned {score.accuracy}; it must return a fraction between 0 and 1.")
    return score


def _key(policy: Policy) -> tuple[tuple[str, int], ...]:
    return tuple(policy.items())
