"""Checkpoints: tensors by name, read without running anybody's pickled code."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from amc_hw.errors import CheckpointError, DamagedCheckpointError, RunFolderError
from amc_hw.models.checkpoint_file import read_checkpoint
from amc_hw.models.checkpoint_layout import Weights, find_weights
from amc_hw.runs.file_names import maker
from amc_hw.runs.files import write_bytes

_LOG = logging.getLogger(__name__)

_LISTED = 5


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a checkpoint's tensors into the model; on any error the model stays as it was.

    The file is PyTorch's or safetensors'. The weights may be under any key (``state_dict``, ``model``, ``net`` ...)
    and behind any prefix of wrappers (``module.``, ``_orig_mod.``, ``backbone.`` ...) as long as their names and
    shapes are then the model's. Where a file holds them twice, their moving averages are taken, which is said.
    Batch-norm step counters, which old checkpoints lack, may be missing.

    Raises:
        CheckpointError: the file is missing, is no checkpoint, is damaged, holds several networks that fit, or has
            other tensors than the model.
    """
    expected = model.state_dict()
    found = find_weights(read_checkpoint(path), expected)
    if not found:
        raise CheckpointError(
            f"{path} holds no tensors by name; save some with torch.save(model.state_dict(), 'weights.pt')."
        )
    weights = found[0] if len(found) == 1 else _averages(path, found)
    lists = (
        ("missing", weights.missing(expected)),
        ("unexpected", weights.unexpected(expected)),
        ("of another shape", weights.reshaped(expected)),
    )
    misfits = [_listed(title, names) for title, names in lists if names]
    if misfits:
        raise CheckpointError(
            f"{path} does not fit this model: {'; '.join(misfits)}. "
            "Name the model (and the number of classes) that it was trained as."
        )
    if weights.left_out:
        _LOG.warning(
            "%s: the model is all of '%s'; %s", path, weights.place, _listed("left out beside it", weights.left_out)
        )
    model.load_state_dict(dict(weights.tensors), strict=False)


def _averages(path: Path, found: Sequence[Weights]) -> Weights:
    """Return the moving averages among several weights that fit."""
    averages = [weights for weights in found if weights.averaged]
    places = " and ".join(f"'{weights.place}'" for weights in found)
    if len(averages) != 1:
        raise CheckpointError(
            f"{path} holds several networks that fit this model, {places}; save the tensors of the one that is meant "
            "in a file of their own with torch.save."
        )
    _LOG.warning(
        "%s holds the weights as %s; '%s', their moving average, is taken (for others, save these alone).",
        path,
        places,
        averages[0].place,
    )
    return averages[0]


def load_own_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a checkpoint that a run wrote into its folder; see `load_checkpoint`.

    Raises:
        RunFolderError: it is damaged; the message names what makes it again.
        CheckpointError: it has other tensors than the model.
    """
    with _damage_explained(path):
        load_checkpoint(model, path)


def read_own_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that a run wrote; raise RunFolderError where it is damaged."""
    with _damage_explained(path):
        return {key: tensor for key, tensor in read_checkpoint(path).items() if isinstance(tensor, Tensor)}


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Name what makes a damaged file of a run again."""
    try:
        yield
    except DamagedCheckpointError as error:
        raise RunFolderError(f"{path} is damaged; delete it and make it again with: {maker(path)}") from error


def save_checkpoint(model: nn.Module, path: Path) -> None:
    """Write the model's tensors in one step, so that a kill leaves the old file or the new one.

    Raises:
        RunFolderError: the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}, buffer)
    write_bytes(path, buffer.getvalue())


def _listed(title: str, names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return f"{title}: {', '.join(every[:_LISTED])}{more}"
