"""What is in a checkpoint's file: PyTorch's or safetensors' plain values, read without running pickled code."""

from __future__ import annotations

import itertools
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from amc_hw.errors import CheckpointError
from amc_hw.models.checkpoint_kind import SAVE, is_safetensors, no_checkpoint, require_checkpoint, require_sound_archive


class _Beside:
    """Stands in for what training scripts store beside their weights: made from anything, it keeps nothing."""

    def __new__(cls, *arguments: object) -> _Beside:
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# The classes and functions themselves are never called, so it does not matter what a file would have them do.
_BESIDE = [
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"datetime.{name}" for name in ("date", "datetime", "timedelta")),
    *(f"numpy.{name}" for name in ("dtype", "ndarray")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(
        f"{module}.{pure}{system}Path"
        for module, pure, system in itertools.product(("pathlib", "pathlib._local"), ("", "Pure"), ("Posix", "Windows"))
    ),
]


def load_plain(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return what torch.save wrote, plain values and tensors only.

    torch does not look at the checksums that it writes; here a changed byte is an error.

    Raises:
        Exception: of many kinds, where the file is damaged or foreign.
    """
    if zipfile.is_zipfile(path):  # files of old versions of torch are not, and have no checksums
        require_sound_archive(path)
    return _unpickled(path, device)


def _unpickled(path: Path, device: torch.device | str = "cpu") -> Any:
    with warnings.catch_warnings():
        # Of torch.load, what it reads and how long it checks; where it cannot read something, the error says it.
        warnings.filterwarnings("ignore", "Detected pickle protocol|Validating sparse tensor", UserWarning)
        return torch.load(path, map_location=device, weights_only=True)


def read_checkpoint(path: Path) -> Any:
    """Return the plain values of a checkpoint that any training script wrote, tensors among them.

    Command-line arguments, numpy's numbers, paths and dates beside the weights are read as objects without content.

    Raises:
        CheckpointError: the file is missing, or needs code to be read: a whole network, or another object.
        DamagedCheckpointError: it is damaged, or something else.
    """
    require_checkpoint(path)
    try:
        if is_safetensors(path):
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals([(_Beside, name) for name in _BESIDE]):
            return _unpickled(path)
    except Exception as error:  # a foreign file makes torch raise almost anything
        needs_code = _needs_code(path)
        if needs_code is not None:
            raise needs_code from error
        raise no_checkpoint(path) from error


def _needs_code(path: Path) -> CheckpointError | None:
    """Return what is wrong with a file that is whole, but holds more than plain values."""
    try:
        with torch.serialization.safe_globals([(_Beside, name) for name in _BESIDE]):
            unknown = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # damaged
        return None
    if not unknown:
        return None
    classes = ", ".join([name for name in unknown if not name.startswith("torch.")][:3] or unknown[:3])
    what = "a whole network" if any(name.startswith(("torch.nn.", "torch.fx.")) for name in unknown) else "objects"
    return CheckpointError(
        f"{path} holds {what} ({classes}), not plain tensors, and is not read, because that would run code; where it "
        f"was made, save the tensors alone: {SAVE}"
    )
