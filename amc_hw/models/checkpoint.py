"""Checkpoints: tensors by name, read without running anybody's pickled code."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.errors import CheckpointError, DamagedCheckpointError, RunFolderError
from amc_hw.runs.files import write_bytes
from amc_hw.runs.names import maker

_LISTED = 5


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a checkpoint's tensors into the model; on any error the model stays as it was.

    The file holds a state dict, by itself or under ``state_dict`` or ``model``; ``module.`` (DataParallel)
    before its names is dropped. Batch-norm step counters, which old checkpoints lack, may be missing.

    Raises:
        CheckpointError: the file is missing, is no checkpoint, is damaged, or has other tensors than the model.
    """
    loaded = _read_tensors(path)
    expected = model.state_dict()
    missing = [key for key in expected if key not in loaded and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in loaded if key not in expected]
    reshaped = [
        f"{key} {_shape(tensor)}, needed {_shape(expected[key])}"
        for key, tensor in loaded.items()
        if key in expected and tensor.shape != expected[key].shape
    ]
    lists = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    misfits = [_listed(title, names) for title, names in lists if names]
    if misfits:
        raise CheckpointError(
            f"{path} does not fit this model: {'; '.join(misfits)}. "
            "Name the model (and the number of classes) that it was trained as."
        )
    model.load_state_dict(loaded, strict=False)


def load_own_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a checkpoint that a run wrote into its folder; see `load_checkpoint`.

    Raises:
        RunFolderError: it is damaged; the message names what makes it again.
        CheckpointError: it has other tensors than the model.
    """
    try:
        load_checkpoint(model, path)
    except DamagedCheckpointError as error:
        raise RunFolderError(f"{path} is damaged; delete it and make it again with: {maker(path)}") from error


def load_plain(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return what torch.save wrote, plain values and tensors only.

    torch does not look at the checksums that it writes; here a changed byte is an error.

    Raises:
        Exception: of many kinds, where the file is damaged or foreign.
    """
    if zipfile.is_zipfile(path):  # files of old versions of torch are not, and have no checksums
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} does not fit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's thoughts on pickle protocols; the error says enough
        return torch.load(path, map_location=device, weights_only=True)


def save_checkpoint(model: nn.Module, path: Path) -> None:
    """Write the model's tensors in one step, so that a kill leaves the old file or the new one.

    Raises:
        RunFolderError: the disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}, buffer)
    write_bytes(path, buffer.getvalue())


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; check the path, or train one first.")
    try:
        content = load_plain(path)
    except Exception as error:  # a foreign file makes torch raise almost anything
        raise DamagedCheckpointError(
            f"{path} is damaged or no checkpoint of plain tensors; save one with torch.save(model.state_dict(), path)."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(key): value for key, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors by name; save some with torch.save(model.state_dict(), path).")
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    return tensors


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _listed(title: str, names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return f"{title}: {', '.join(every[:_LISTED])}{more}"
