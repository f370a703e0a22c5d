"""One search, of channels or of single weights: its log, its curves and what is shown of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from amc_hw.pipeline.events import episode_events
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.search.live import describe
from amc_hw.search.strategy import Strategy
from amc_hw.search.study import Problem, Scorer, StudyResult, run_study

_LOG = logging.getLogger(__name__)


def run_search(run: RunFolder, problem: Problem, strategy: Strategy, scorer: Scorer, progress: Progress) -> StudyResult:
    """Run a search in a run folder, or go on where its log ends; see `amc_hw.search.study.run_study`."""
    with episode_events(run, problem.space.cost, problem.space.original) as write_events:
        watch = _Watch(problem, write_events, progress, str(run.settings().get("scored") or "accuracy"))
        study = run_study(problem, strategy, scorer, run.episodes.path, watch)
    if (done := len(study.episodes)) < problem.episodes:
        _LOG.info("the search ended after %d of %d episodes: %s", done, problem.episodes, study.ended)
    return study


class _Watch:
    """Shows a search and writes its curves."""

    def __init__(
        self, problem: Problem, write_events: Callable[[StudyResult], None], progress: Progress, scored: str
    ) -> None:
        self._space, self._write_events, self._progress = problem.space, write_events, progress
        self._scored = scored

    def __call__(self, done: int, total: int, study: StudyResult) -> None:
        self._write_events(study)
        self._progress("searching", done, total, describe(study, self._space.cost, self._space.original, self._scored))
