"""The beginning of a run, from the command line and from Python: its folder holds the trained network from then on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from amc_hw.data.dataset import Data
from amc_hw.errors import CheckpointError, WrongRunError
from amc_hw.models.checkpoint import load_checkpoint, load_own_checkpoint, save_checkpoint
from amc_hw.pipeline.settings import check_settings
from amc_hw.pipeline.trained import (
    TrainedModel,
    image_size_of,
    load_model_and_data,
    say_size,
    size_to_begin,
    square_side,
    trained_model_of,
)
from amc_hw.runs.config import RunConfig, open_run, read_config
from amc_hw.runs.file_names import maker
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.training.compute import CPU
from amc_hw.training.loop import train
from amc_hw.training.recipe import demo_recipe
from amc_hw.training.trial import note_of_frozen, thawed


def begin(
    run: RunFolder,
    config: RunConfig,
    progress: Progress,
    compute: torch.device = CPU,
    own: tuple[nn.Module, Data] | None = None,
) -> tuple[RunConfig, TrainedModel]:
    """Check everything that the user named, then begin the run folder or go on with it.

    The folder keeps a copy of the trained weights; the demonstration trains them.

    Args:
        run: the run folder.
        config: the settings.
        progress: is told how far the work is.
        compute: where to train, prune and score.
        own: a trained network of the caller's own with its data; by default the settings name both.

    Returns:
        The settings, now with the size of the images, and the network.

    Raises:
        UsageError: see `check_settings`; or the weights, or the network, are not what the settings say.
        WrongRunError: the folder holds a run of something else.
    """
    check_settings(run, config, own_model=own is not None)
    model, data = own or load_model_and_data(
        config.model, config.data, config.data_root, config.seed, size_to_begin(run, config)
    )
    frozen = note_of_frozen(model)
    config, model = config.model_copy(update={"image_size": square_side(data)}), thawed(model)
    if own is None and config.checkpoint is not None:
        load_checkpoint(model, Path(config.checkpoint))
    trained = replace(trained_model_of(config, model, data, compute), notes=(frozen,) if frozen else ())
    baseline = run.baseline
    if own is not None and baseline.exists():
        _require_same(model, baseline)
    open_run(run.path, config)
    say_size(data)
    if not baseline.exists():
        if own is None and config.checkpoint is None:
            train(model, trained.data, demo_recipe(), seed=config.seed, device=compute, progress=progress)
        save_checkpoint(model, baseline)
    elif own is None:
        load_own_checkpoint(model, baseline)
    return config, trained


def open_trained(run: Path, compute: torch.device = CPU) -> tuple[RunConfig, TrainedModel]:
    """Load the network of a run that has begun; raise WrongRunError where there is none."""
    config = read_config(run)
    baseline = RunFolder(run).baseline
    if not baseline.exists():
        raise WrongRunError(f"{run} has no {baseline.name}; run the search first: {maker(baseline)}")
    size = image_size_of(config)
    model, data = load_model_and_data(config.model, config.data, config.data_root, config.seed, size)
    model = thawed(model)
    load_own_checkpoint(model, baseline)
    return config, trained_model_of(config, model, data, compute)


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
