"""The compressed network of a run, back again: its architecture from code, its weights from tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from amc_hw.errors import CheckpointError, UsageError, WrongRunError
from amc_hw.models.checkpoint import load_own_checkpoint, read_own_checkpoint
from amc_hw.models.names import is_user_file
from amc_hw.models.zoo import build_from_file, build_model, default_image_size
from amc_hw.pipeline.plain import made_plain
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.runs.begun import read_config
from amc_hw.runs.config import CLASSIFY, RunConfig
from amc_hw.runs.file_names import maker
from amc_hw.runs.files import damaged
from amc_hw.runs.folder import RunFolder
from amc_hw.tracing.inputs import as_written, example_of, tensors_of
from amc_hw.tracing.plain import copyable_copy
from amc_hw.tracing.traced import PruningChoices, TracedModel, trace_example


def load(run: Path | str, model: nn.Module | None = None) -> nn.Module:
    """Return the compressed network of a run, in evaluation mode; no pickled code runs.

    Args:
        run: the run folder; the network is as far as the run is: fine-tuned, or only pruned.
        model: the original network with any weights, where it has no name that the command line knows; it is not
            changed.

    Raises:
        WrongRunError: the run has no network yet.
        UsageError: the run's network has no name; pass it as ``model``.
        CheckpointError: ``model`` is not the network that was compressed.
        RunFolderError: a file of the run is damaged.
    """
    folder = RunFolder(Path(run).expanduser())
    config = read_config(folder.path)
    if not folder.best_weights.exists():
        raise WrongRunError(f"{folder} has no network yet; make it with: {maker(folder.best_weights)}")
    if not folder.baseline.exists():
        raise WrongRunError(f"{folder.baseline} is missing; make it with: {maker(folder.baseline)}")
    example = _example(folder, config)
    original = _named(folder, config, example) if model is None else _given(folder, model, example)
    if config.granularity == "channels":
        traced = trace_example(original, example, pruning_choices(config))
        return as_written(restore(folder, traced, folder.best_weights))
    load_own_checkpoint(original, folder.best_weights)
    return original.eval()


def restore(run: RunFolder, traced: TracedModel, weights: Path) -> nn.Module:
    """Rebuild a run's compressed network with the weights of one of its files, in evaluation mode.

    Args:
        run: the run folder.
        traced: its original network; it is not changed.
        weights: the file.

    Raises:
        WrongRunError: the run has no policy or no such weights yet.
        RunFolderError: one of these files is damaged.
    """
    policy = run.policy.read().channels
    if not weights.exists():
        raise WrongRunError(f"{weights} is missing; make it with: {maker(weights)}")
    model = shrink(traced.model, traced.network, first_channels(policy))
    load_own_checkpoint(model, weights)
    return model.eval()


def pruning_choices(config: RunConfig) -> PruningChoices:
    """Return what a run's settings let a search choose from."""
    return PruningChoices(config.multiple, config.lower, config.exclude, config.include, config.keep_blocks)


def _given(folder: RunFolder, model: nn.Module, example: Any) -> nn.Module:
    original = copyable_copy(model)
    original, _ = made_plain(original, lambda: example, folder.baseline, quiet=True)
    try:
        load_own_checkpoint(original, folder.baseline)
    except CheckpointError as error:
        raise CheckpointError(f"the model is not the one that {folder} has compressed: {error}") from error
    return original


def _named(folder: RunFolder, config: RunConfig, example: Any) -> nn.Module:
    """Build the original by its name for as many classes as its weights tell, which must fit it.

    The classifier is mostly the last layer; where it is not, it is the layer that a network so built has otherwise.
    """
    if config.task != CLASSIFY and is_user_file(config.model):
        return _given(folder, build_from_file(config.model), example)
    channels = (*tensors_of(example)[0].shape, 1)[1]
    weights = {key: tensor for key, tensor in read_own_checkpoint(folder.baseline).items() if tensor.ndim > 1}
    classes = list(weights.values())[-1].shape[0]
    try:
        original = build_model(config.model, classes, channels)
        built = original.state_dict()
        others = [key for key, tensor in weights.items() if key in built and tensor.shape != built[key].shape]
        if others:
            original = build_model(config.model, weights[others[-1]].shape[0], channels)
    except UsageError as error:
        reason = str(error).rstrip(".")
        raise UsageError(f"{reason}; pass the network that was compressed: load('{folder}', model=...)") from error
    return _given(folder, original, example)


def _example(folder: RunFolder, config: RunConfig) -> Any:
    """Return one of the run's inputs, all zeros."""
    policy = folder.policy.find()
    if policy is not None and policy.inputs is not None:
        try:
            return example_of(policy.inputs)
        except ValueError as error:
            raise damaged(folder.policy.path, str(error)) from error
    return torch.zeros(1, *_image_size(folder, config))


def _image_size(folder: RunFolder, config: RunConfig) -> tuple[int, int, int]:
    """Return (C, H, W) of the run's images."""
    for record in (folder.policy.find(), folder.summary.find()):
        if record is not None and record.image_size is not None:
            channels, height, width = record.image_size
            return channels, height, width
    weights = read_own_checkpoint(folder.baseline).values()
    channels = next((int(tensor.shape[1]) for tensor in weights if tensor.ndim == 4), 3)
    side = config.image_size or default_image_size(config.model)
    return channels, side, side
