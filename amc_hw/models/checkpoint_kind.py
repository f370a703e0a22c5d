"""Whether a file can be a checkpoint at all: told by its bytes, before anything heavy is loaded."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from amc_hw.errors import CheckpointError, DamagedCheckpointError

SAVE = "torch.save(model.state_dict(), 'weights.pt')"
"""What makes a checkpoint that can be read."""
# The number that torch.save began its files with before they were zip archives, as pickle writes it.
_BEFORE_ZIP = b"l\xfc\x9cF\xf9 j\xa8P\x19"
_START = 32
_DIRECTORY = 0x10
"""Of the attributes of a file in MS-DOS, which zip archives keep."""


def require_checkpoint(path: Path) -> None:
    """Refuse what is no checkpoint; whose weights are in one is left to those who know the model.

    Raises:
        CheckpointError: the file is missing, or is a program, which holds code.
        DamagedCheckpointError: it is damaged, or something else.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; check the path, or train one first.")
    try:
        if zipfile.is_zipfile(path):
            _require_plain_archive(path)
        elif is_safetensors(path):
            from safetensors import safe_open

            with safe_open(path, framework="numpy"):  # reads the header and holds it against the file's size
                return
        elif not _is_from_before_zip(path):
            raise ValueError("neither a zip archive nor safetensors")
    except CheckpointError:
        raise
    except PermissionError as error:
        raise CheckpointError(f"{path} may not be read by you; change its permissions, or name a copy.") from error
    except Exception as error:  # a foreign file makes readers raise almost anything
        raise no_checkpoint(path) from error


def no_checkpoint(path: Path) -> DamagedCheckpointError:
    """Return the error of a file that cannot be read as a checkpoint."""
    return DamagedCheckpointError(f"{path} is damaged or no checkpoint of plain tensors; save one with {SAVE}.")


def require_sound_archive(path: Path) -> None:
    """Hold a zip archive that torch wrote against its checksums, which torch does not look at.

    Raises:
        Exception: of several kinds, where it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} does not fit")
        if any(info.file_size != info.compress_size for info in archive.infolist()):  # torch compresses nothing
            raise ValueError("a size in its directory is wrong")
        if any(info.external_attr & _DIRECTORY for info in archive.infolist()):  # torch reads nothing of a folder
            raise ValueError("a tensor is marked as a folder in its directory")


def is_safetensors(path: Path) -> bool:
    """Tell the format by its beginning: the length of a header in JSON, eight bytes, then the header."""
    start = _beginning(path)
    if len(start) < 9 or start[8:9] != b"{":
        return False
    length: int = struct.unpack("<Q", start[:8])[0]
    return length <= path.stat().st_size - 8


def _require_plain_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path} is a TorchScript archive; save its tensors alone: "
            f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pt')"
        )
    if "archive_format" in names:
        raise CheckpointError(
            f"{path} is an exported program; save its tensors alone: "
            f"torch.save(torch.export.load({str(path)!r}).state_dict, 'weights.pt')"
        )
    if "data.pkl" not in names:
        raise ValueError("torch did not write it")
    require_sound_archive(path)


def _is_from_before_zip(path: Path) -> bool:
    return _BEFORE_ZIP in _beginning(path)


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_START)
