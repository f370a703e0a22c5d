"""The beginning of a run, from the command line and from Python: its folder holds the trained network from then on."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from amc_hw.data.dataset import Data, has_own_size, load_data
from amc_hw.errors import CheckpointError, UsageError, WrongRunError
from amc_hw.models.checkpoint import load_checkpoint, load_own_checkpoint, save_checkpoint
from amc_hw.models.zoo import build_from_file, build_model, default_image_size, known_image_size
from amc_hw.pipeline.first_look import require_counts_in_reach
from amc_hw.pipeline.load import pruning_choices
from amc_hw.pipeline.plain import made_plain
from amc_hw.pipeline.settings import check_settings
from amc_hw.pipeline.smaller import smaller_networks
from amc_hw.pipeline.trained import TrainedModel, trained_for
from amc_hw.policy import MEAN_AP, TOP1
from amc_hw.processes import is_first_process
from amc_hw.runs.begun import open_run, read_config, require_same_search
from amc_hw.runs.config import CLASSIFY, RunConfig
from amc_hw.runs.file_names import maker
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.tasks.by_task import goal_of
from amc_hw.tasks.goal import Goal
from amc_hw.tasks.task import Task
from amc_hw.tasks.user_file import load_task
from amc_hw.training.compute import CPU
from amc_hw.training.loop import train
from amc_hw.training.recipe import demo_recipe
from amc_hw.training.trial import note_of_frozen, thawed

_LOG = logging.getLogger(__name__)


class Own(NamedTuple):
    """A trained network of the caller's own with its data or its task, and smaller ones to hold it against."""

    model: nn.Module
    source: Data | Task
    smaller: Mapping[str, nn.Module] = {}


def begin(
    run: RunFolder,
    config: RunConfig,
    progress: Progress,
    compute: torch.device = CPU,
    own: Own | tuple[nn.Module, Data | Task] | None = None,
) -> tuple[RunConfig, TrainedModel]:
    """Check everything that the user named, then begin the run folder or go on with it.

    The folder keeps a copy of the trained weights; the demonstration trains them.

    Args:
        run: the run folder.
        config: the settings.
        progress: is told how far the work is.
        compute: where to train, prune and score.
        own: see `Own`; by default the settings name all of it.

    Returns:
        The settings, now with the size of the images, and the network.

    Raises:
        UsageError: see `check_settings`; or the weights, or the network, are not what the settings say.
        UsageError, CheckpointError: see `smaller_networks`.
        BudgetError: see `require_counts_in_reach`.
        WrongRunError: the folder holds a run of something else.
    """
    check_settings(run, config, own_model=own is not None)
    require_same_search(run.path, config)
    model, named = own[:2] if own else _named(config, size_to_begin(run, config))
    frozen, baseline = note_of_frozen(model), run.baseline
    model = thawed(model)
    if own is None and config.checkpoint is not None:
        load_checkpoint(model, Path(config.checkpoint))
    source = load_task(config.task, model) if named is None else named
    if isinstance(source, Data):
        config = config.model_copy(update={"image_size": square_side(source)})
    goal = goal_of(source, model, compute)
    _require_classes_for_weights(config, goal)
    smaller = smaller_networks(config, model, goal, own.smaller if isinstance(own, Own) else {})
    model, rewritten = made_plain(model, lambda: goal.example, baseline)
    notes = tuple(filter(None, (frozen, rewritten)))
    trained = replace(_trained_model(config, model, goal), notes=notes, smaller=smaller)
    require_counts_in_reach(config, trained)
    if own is not None and baseline.exists():
        _require_same(model, baseline)
    config = _as_scored(config, goal)
    open_run(run.path, config)
    if isinstance(source, Data):
        say_size(source)
    if not baseline.exists():
        if own is None and config.checkpoint is None:
            train(model, trained.data, demo_recipe(), seed=config.seed, device=compute, progress=progress)
        save_checkpoint(model, baseline)
    elif own is None:
        load_own_checkpoint(model, baseline)
    return config, trained


def begin_again(run: RunFolder, config: RunConfig, trained: TrainedModel) -> tuple[RunConfig, TrainedModel]:
    """Begin a run, or go on with it, with the network of another one that differs in its budget alone.

    Raises:
        AmcHwError: see `begin`.
    """
    check_settings(run, config)
    require_same_search(run.path, config)
    if config.task == CLASSIFY:
        size_to_begin(run, config)
        config = config.model_copy(update={"image_size": square_side(trained.data)})
    trained = replace(trained, precision=config.known_precision)
    require_counts_in_reach(config, trained)
    config = _as_scored(config, trained.task)
    open_run(run.path, config)
    if not run.baseline.exists():
        save_checkpoint(trained.model, run.baseline)
    return config, trained


def _as_scored(config: RunConfig, goal: Goal) -> RunConfig:
    """Return the settings with what the scores are called, where that is not top-1."""
    return config if goal.metric == TOP1 else config.model_copy(update={"scored": goal.metric})


def open_trained(run: Path, compute: torch.device = CPU) -> tuple[RunConfig, TrainedModel]:
    """Load the network of a run that has begun; raise WrongRunError where there is none."""
    config = read_config(run)
    baseline = RunFolder(run).baseline
    if not baseline.exists():
        raise WrongRunError(f"{run} has no {baseline.name}; run the search first: {maker(baseline)}")
    model, named = _named(config, image_size_of(config))

    def example() -> Any:  # of a task that is asked before the weights are there
        return goal_of(load_task(config.task, model) if named is None else named, model).example

    plain, _ = made_plain(thawed(model), example, baseline, quiet=True)
    load_own_checkpoint(plain, baseline)
    source = load_task(config.task, plain) if named is None else named
    return config, _trained_model(config, plain, goal_of(source, plain, compute))


def _named(config: RunConfig, image_size: int | None) -> tuple[nn.Module, Data | None]:
    """Return the network and the data that settings name; no data where they name a task, which may ask for weights."""
    if config.task != CLASSIFY:
        return build_from_file(config.model, seed=config.seed), None
    return load_model_and_data(config.model, config.data, config.data_root, config.seed, image_size)


def load_model_and_data(
    model: str, data: str, data_root: str | None, seed: int = 0, image_size: int | None = None
) -> tuple[nn.Module, Data]:
    """Build a network (untrained) for a data set.

    Args:
        model: the network's name.
        data: the data set's name.
        data_root: its folder, where it needs one.
        seed: of the initial weights.
        image_size: side in pixels; by default that of the images where all have one, or what the network was
            designed for.

    Raises:
        UsageError: wrong names or files, or the images have another size, or they have none and none is known.
    """
    loaded = load_data(data, Path(data_root) if data_root else None, image_size, known_image_size(model))
    channels, height, width = loaded.image_size
    if image_size not in (None, height) or image_size not in (None, width):
        raise UsageError(
            f"image_size={image_size} was asked for, but the images of '{data}' are {height}x{width}, which only "
            "image folders can be decoded to; leave it out, or write the images at that size."
        )
    return build_model(model, loaded.num_classes, channels, seed=seed), loaded


def image_size_of(config: RunConfig) -> int | None:
    """Return the side of the images of a run that has begun, or None where the data alone decides it.

    Runs of earlier versions took image folders at the size that the network was designed for, 224 for a file's.
    """
    if config.image_size is None and not has_own_size(config.data):
        return default_image_size(config.model)
    return config.image_size


def size_to_begin(run: RunFolder, config: RunConfig) -> int | None:
    """Return the side of the images that was asked for, or that a run which goes on has; None leaves it to the data.

    Raises:
        WrongRunError: these are two.
    """
    before = read_config(run.path) if run.config.exists() else None
    if before is None or before.data != config.data:  # of other data, which is refused with its name
        return config.image_size
    begun = image_size_of(before)
    if begun is not None and config.image_size not in (None, begun):
        raise WrongRunError(
            f"{run} is a run with images of {begun} pixels, not {config.image_size}; choose another folder with run=."
        )
    return config.image_size if begun is None else begun


def say_size(data: Data) -> None:
    """Say which size the images have, once all that was asked for is known to be right."""
    if is_first_process():
        _LOG.info("%s: images of %dx%d pixels (height x width)", data.name, *data.image_size[1:])


def square_side(data: Data) -> int | None:
    """Return the side in pixels of a data set's images where they are squares."""
    _, height, width = data.image_size
    return height if height == width else None


def _trained_model(config: RunConfig, model: nn.Module, goal: Goal) -> TrainedModel:
    """Trace a run's network; see `trained_for`."""
    trained = trained_for(model, goal, pruning_choices(config), config.known_precision)
    return replace(trained, name=config.model, io=config.io)


def _require_classes_for_weights(config: RunConfig, goal: Goal) -> None:
    """Raise UsageError where single weights are to go by a score that no single images tell."""
    if config.granularity == "weights" and goal.metric == MEAN_AP:
        raise UsageError(
            "sparsify scores by top-1 accuracy, and the images of this data set have several labels; give data with "
            "one class for each image, or prune channels: amc-hw compress"
        )


def _require_same(model: nn.Module, baseline: Path) -> None:
    """Raise WrongRunError where a run was begun with another network, or with other weights."""
    begun = copy.deepcopy(model)
    try:
        load_own_checkpoint(begun, baseline)
    except CheckpointError as error:
        raise WrongRunError(
            f"{baseline.parent} is a run of another network ({error}); choose another run= folder."
        ) from error
    now = model.state_dict()
    other = [
        name
        for name, tensor in begun.state_dict().items()
        if not name.endswith("num_batches_tracked") and not torch.equal(tensor, now[name])
    ]
    if other:
        raise WrongRunError(
            f"{baseline.parent} is a run of this network with other weights ({other[0]} differs); choose another run= "
            f"folder, or load its {baseline.name} into the network."
        )
