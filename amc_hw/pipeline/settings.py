"""Whether a run's settings make sense together, and what they name is there: told at once, nothing heavy is loaded."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import Any

from amc_hw.budget.budget import Budget, parse_budget
from amc_hw.data.names import require_data
from amc_hw.devices.registry import precisions_of
from amc_hw.devices.table_only import require_device
from amc_hw.errors import UsageError
from amc_hw.formats.first_bytes import require_content
from amc_hw.latency.read_table import load_table
from amc_hw.models.checkpoint_kind import require_checkpoint
from amc_hw.models.names import TORCHVISION, is_user_file, require_model_name, require_task_name
from amc_hw.pipeline.agent import agent_file
from amc_hw.pipeline.several_settings import measured_first, require_several
from amc_hw.pipeline.smaller_settings import require_smaller
from amc_hw.policy import Precision, PrecisionSetting, precision_of, require_io
from amc_hw.profiling.model_files import require_files
from amc_hw.runs.begun import read_config, require_same_run
from amc_hw.runs.config import CLASSIFY, DEMO_DATA, DEMO_MODEL, RunConfig, make_config, require_task_inputs
from amc_hw.runs.files import require_room
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.names import require_compute_name
from amc_hw.search.rewards import find_reward


def checked_config(run: RunFolder, compute: str | None, *, own_model: bool = False, **given: Any) -> RunConfig:
    """Return the settings of a run that a user asks for, once they and its folder are known to be right.

    Args:
        run: the run folder.
        compute: where to train, prune and score, by name.
        own_model: whether the model and its data are the caller's own, and not found by their names.
        given: see `make_config`.

    Raises:
        UsageError: see `make_config` and `check_settings`.
        WrongRunError: the folder holds a run of something else.
        RunFolderError: it cannot be written.
    """
    config = make_config(**given)
    require_room(run.path)
    config = measured_first(run, config)
    check_settings(run, config, compute, own_model=own_model)
    return config


def check_settings(run: RunFolder, config: RunConfig, compute: str | None = None, *, own_model: bool = False) -> None:
    """Refuse what cannot end well, before the first second of work.

    Args:
        run: the run folder.
        config: the settings.
        compute: where to train, prune and score, by name.
        own_model: whether the model and its data are the caller's own, and not found by their names.

    Raises:
        UsageError: an unknown name, a missing file, one that is no checkpoint, a budget that cannot be read, settings
            that exclude each other.
        WrongRunError: the folder holds a run of something else.
    """
    require_compute_name(compute)
    config = settled(run, config)
    require_several(config)
    require_io(config.known_precision, config.io)
    _require_falling(config)
    find_reward(config.reward, config.accuracy_floor)
    agent_file(run, config)
    if config.granularity == "channels":
        require_device(config.device, table_of(config), config.known_precision)
    if not own_model:
        require_network(config.model, config.task)
        if config.task == CLASSIFY:
            require_data(config.data, Path(config.data_root) if config.data_root else None)
        _require_weights(config)
    require_smaller(config, own_model=own_model)
    require_same_run(run.path, config)


def require_network(model: str, task: str, image_size: int | None = None) -> None:
    """Raise UsageError where there is no such network or task, as far as their names tell, or a size beside a task."""
    require_model_name(model)
    if task != CLASSIFY:
        require_task_name(task, model)
        require_task_inputs(image_size=image_size)


def check_evaluation(file: Path | None, run: Path | None, data: str | None, data_root: Path | None) -> None:
    """Refuse what cannot be evaluated, before the first second of work.

    Raises:
        UsageError: neither a file nor a run is named or both are, one of them is missing, or a file comes without data.
    """
    if (file is None) == (run is None):
        raise UsageError("name either an exported file or run=FOLDER.")
    if run is not None:
        read_config(run)
    if file is not None:
        require_files([file])
        if data is None:
            of_run = RunFolder(file.parent).config.exists()
            cure = f"; of a run, all files: amc-hw evaluate --run {shlex.quote(str(file.parent))}" if of_run else ""
            raise UsageError(f"a file needs its data set: amc-hw evaluate FILE --data DATA{cure}")
        require_content(file, "name a file that amc-hw export wrote.")
    if data is not None:
        require_data(data, data_root)


def parse_budgets(config: RunConfig) -> tuple[Budget, ...]:
    """Return the budgets of a run, the main one first; raise UsageError where one cannot be read."""
    texts = {config.metric: config.budget, **config.limits}
    return tuple(parse_budget(metric, text) for metric, text in texts.items())


def other_budgets(config: RunConfig) -> dict[str, Budget]:
    """Return the latency budgets of further devices by their names; raise UsageError where one cannot be read."""
    return {name: parse_budget("latency_ms", text) for name, text in config.others.items()}


def settled(run: RunFolder, config: RunConfig) -> RunConfig:
    """Return a run's settings with its precision, where that is asked for or decided already.

    ``auto`` is what the run was begun with, what its budgets or its table name, or fp32 where nothing else can be: for
    single weights, for budgets that no precision changes, on devices that run float32 only. Else it stays open.

    Raises:
        UsageError: a budget is a share of the original in another precision than the one that ships.
    """
    named = {budget.of for budget in (*parse_budgets(config), *other_budgets(config).values())} - {"fp32"}
    if config.precision == "auto":
        config = config.model_copy(update={"precision": _decided(run, config, named)})
    if config.precision != "auto" and named - {config.precision}:
        if len(named) > 1:
            raise UsageError(
                f"the budgets are shares of the original in {' and in '.join(sorted(named))}, and one precision ships; "
                "give all in the same, or without it: 0.5x is a share of the original in fp32."
            )
        (other,) = named
        own = f"0.5x-{config.precision}, or " if config.precision != "fp32" else ""
        raise UsageError(
            f"a budget is a share of the original in {other}, and the run's precision is {config.precision}; "
            f"give precision={other}, or another budget: {own}0.5x, a share of the original in fp32."
        )
    return config


def _decided(run: RunFolder, config: RunConfig, named: set[Precision]) -> PrecisionSetting:
    if run.config.exists() and (begun := read_config(run.path).precision) != "auto":
        return begun
    if config.granularity == "weights":
        return "fp32"
    if named or config.io == "int8":
        return min(named, default="int8")
    for table in (table_of(config), run.table):
        if table is not None and table.exists():
            return precision_of(load_table(table).fingerprint.dtype) or "fp32"
    changed = {"latency_ms", "size_bytes"} & {budget.metric for budget in parse_budgets(config)}
    try:
        several = len(precisions_of(config.device)) > 1
    except UsageError:  # a device that is known by its table alone, or not at all
        several = False
    return "auto" if changed and several else "fp32"


def _require_falling(config: RunConfig) -> None:
    """Raise UsageError where the budgets of the rounds cannot be read, or do not fall to the run's own."""
    texts = (*config.rounds, config.budget)
    budgets = [parse_budget(config.metric, text) for text in texts]
    for (before, after), text in zip(itertools.pairwise(budgets), texts[1:], strict=True):
        if not _is_smaller(after, before):
            raise UsageError(
                f"the budgets of the rounds are {', '.join(texts)}, and {text} is not smaller than the one before; "
                "write falling shares of the original's (0.7x), all of one precision, or falling values with a unit."
            )


def table_of(config: RunConfig) -> Path | None:
    """Return the latency table that a run was given."""
    return Path(config.table) if config.table else None


def _require_weights(config: RunConfig) -> None:
    if config.checkpoint is None and (config.model, config.data) != (DEMO_MODEL, DEMO_DATA):
        if config.model.startswith(TORCHVISION):  # a wrong name is worth more words
            from amc_hw.models.zoo import default_image_size

            default_image_size(config.model)
        if is_user_file(config.model):
            from amc_hw.models.user_file import require_function

            require_function(config.model)
        cure = f", or make them with: amc-hw train --model {config.model} --data {config.data} --out FILE"
        raise UsageError(
            f"the trained weights of {config.model} are missing; give checkpoint=FILE"
            f"{cure if config.task == CLASSIFY else '.'}"
        )
    if config.checkpoint is not None:
        require_checkpoint(Path(config.checkpoint))


def _is_smaller(one: Budget, other: Budget) -> bool:
    if one.ratio is not None and other.ratio is not None:
        return one.of == other.of and one.ratio < other.ratio
    return one.absolute is not None and other.absolute is not None and one.absolute < other.absolute
