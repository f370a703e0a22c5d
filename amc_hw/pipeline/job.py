"""One compression, as its steps hand it on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from amc_hw.budget.budget import Budget, of_latency
from amc_hw.data.dataset import Data
from amc_hw.devices.base import Device
from amc_hw.devices.turns import device_in_turn
from amc_hw.formats.registry import find_format
from amc_hw.pipeline.auto_precision import choose_precision
from amc_hw.pipeline.begin import Own, begin, begin_again
from amc_hw.pipeline.family import Family, take_over, take_weights
from amc_hw.pipeline.first_look import looked_at
from amc_hw.pipeline.other_devices import OtherDevice, opened_others
from amc_hw.pipeline.settings import parse_budgets, settled, table_of
from amc_hw.pipeline.smaller import hold_against
from amc_hw.pipeline.smaller_settings import require_measured
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Precision
from amc_hw.profiling.deployed import DeployedFiles
from amc_hw.profiling.profile import require_tables
from amc_hw.runs.begun import open_run
from amc_hw.runs.config import RunConfig
from amc_hw.runs.file_lock import exclusive
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.search.scoring import NetworkScore, OwnScore
from amc_hw.tasks.task import Task
from amc_hw.tracing.inputs import repeated
from amc_hw.training.compute import CPU
from amc_hw.training.memory import keep_freed_memory

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What is compressed, for which device, and where its files are.

    Attributes:
        run: the run folder, begun with ``config``.
        config: the settings.
        trained: the network and its task.
        device: where the budget must hold.
        score: what the search maximises, 0..1, on images of the training set.
        others: further devices, each with a latency budget.
        family: the runs of a sweep that this one may take over from.
    """

    run: RunFolder
    config: RunConfig
    trained: TrainedModel
    device: Device
    score: NetworkScore
    others: tuple[OtherDevice, ...] = ()
    family: Family = field(default_factory=Family)

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """What the network must keep, all of it, the main budget first."""
        return parse_budgets(self.config)

    @property
    def latency_budget(self) -> Budget | None:
        """The budget of the run's own device's latency, where it has one."""
        return of_latency(self.budgets)


@contextmanager
def opened_job(
    run: Path,
    config: RunConfig,
    progress: Progress,
    compute: torch.device = CPU,
    own: Own | tuple[nn.Module, Data | Task] | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    family: Family | None = None,
) -> Iterator[tuple[Job, Progress]]:
    """Begin a run or go on with it, on its device, while nobody else works in its folder.

    Args:
        run: the run folder; made, or gone on with.
        config: the settings.
        progress: is told how far the work is.
        compute: where to train, prune and score.
        own: see `amc_hw.pipeline.begin.Own`; by default the settings name all of it.
        evaluate: what the search maximises, 0..1; by default what the task says.
        family: the runs of a sweep that this one may take over from.

    Yields:
        The job, and the progress that also tells when the device is somebody else's turn.

    Raises:
        AmcHwError: see `amc_hw.pipeline.begin.begin`, `require_tables` and `looked_at`; or the device cannot be opened.
    """
    keep_freed_memory()
    folder, table = RunFolder(run), table_of(config)
    with exclusive(run, progress):
        if folder.config.exists():
            _LOG.info("%s", _goes_on(folder))
        config = settled(folder, config)
        with (
            device_in_turn(config.device, progress, table, config.known_precision) as (device, in_turn),
            opened_others(folder, config, device, in_turn) as (others, in_turn),
        ):
            require_measured(config, in_reach=device.in_reach)
            require_tables(device, table, folder)
            find_format(device.format).with_io(config.known_precision, config.io)
            family = family or Family()
            take_weights(folder, config, family.folders)
            if (known := family.known_network(folder)) is not None:
                config, trained = begin_again(folder, config, known)
            else:
                config, trained = begin(folder, config, in_turn, compute, own)
                trained = looked_at(trained, by_accuracy=evaluate is None and trained.task.search_images is not None)
            family.keep_network(folder, trained)
            take_over(folder, config, family.folders)

            def score_in(precision: Precision) -> NetworkScore:
                return _score(replace(trained, precision=precision), device, evaluate)

            if config.precision == "auto":
                device.precision = choose_precision(folder, config, trained, device, score_in, family, in_turn)
                config = config.model_copy(update={"precision": device.precision})
                trained = replace(trained, precision=device.precision)
                open_run(run, config)

            def score_of(file: Path) -> NetworkScore:
                return _score(trained, device, evaluate, lambda _: file.read_bytes())

            hold_against(folder, config, trained, device, score_of, in_turn)
            yield Job(folder, config, trained, device, score_in(device.precision), others, family), in_turn


def _goes_on(folder: RunFolder) -> str:
    """Return the sentence for a run that was begun before."""
    if folder.summary.exists():
        return f"{folder.path} is a finished run: only what has changed is done again."
    return f"{folder.path} was begun before: it goes on where it stopped."


def _score(
    trained: TrainedModel,
    device: Device,
    evaluate: Callable[[nn.Module], float] | None,
    written: Callable[[nn.Module], bytes] | None = None,
) -> NetworkScore:
    """Return what the search maximises, in the precision that ships; ``written`` gives the file of a network."""
    if evaluate is not None:
        return OwnScore(lambda model: evaluate(trained.as_shipped(model)))
    if trained.precision == "fp32":
        return trained.task.score()
    kind = find_format(device.format)
    content = written or DeployedFiles(
        device, trained, trained.precision, repeated(trained.example, kind.scoring_batch)
    )
    return trained.task.score(lambda model: kind.load(content(model)))
