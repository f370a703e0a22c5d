"""Reading and writing a run folder's files so that a kill or a full disk loses at most the line under way."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amc_hw.errors import RunFolderError, WrongRunError

_WRITTEN_BY = {
    **dict.fromkeys(("finetune.json", "benchmark.json", "summary.json"), "compress"),
    "model.pt": "finetune",
}
"""The command that writes a file of a run folder; all others are written by search."""


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an OSError while writing ``path`` into one sentence."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path}: {error.strerror or error}; free the disk or choose another folder, "
            "then run the same command again: what was finished is kept."
        ) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; raise RunFolderError where that is not allowed."""
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path} is a file; name a folder.")
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def require_writable(path: Path) -> None:
    """Raise RunFolderError where a file cannot be written, before the work begins whose result it is for."""
    existed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}; name another file.") from error


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: readers see the old content or the new one, never half of it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old content or the new one, never half of it."""
    if path.is_dir():
        raise RunFolderError(f"{path} is a folder; name a file.")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write one JSON document; NaN and infinity are refused, because JSON has none."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document; raise WrongRunError where it is missing, RunFolderError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WrongRunError(f"{path} is missing; make it with: {maker(path)}") from error
    except OSError as error:
        raise RunFolderError(
            f"cannot read {path}: {error.strerror or error}; move it away and make it again with: {maker(path)}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); delete it and make it again with: {maker(path)}") from error


def maker(path: Path) -> str:
    """Return the command that writes a file of a run folder."""
    return f"amc-hw {_WRITTEN_BY.get(path.name, 'search')} --run {path.parent} ..."


def append_line(path: Path, document: Any) -> None:
    """Append one JSON line and push it to the disk before returning."""
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(document, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_lines(path: Path) -> list[Any]:
    """Read the JSON lines of a file; a last line cut short by a kill is removed from the file, too."""
    if not path.exists():
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(
            f"cannot read {path}: {error.strerror or error}; move it away, then run the same command again."
        ) from error
    whole = content[: content.rfind(b"\n") + 1]
    documents = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            documents.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise RunFolderError(
                f"line {number} of {path} is damaged ({error}); delete it and all lines after it: the same command "
                "goes on from there."
            ) from error
    if whole != content:
        write_bytes(path, whole)
    return documents


def read_policies(path: Path, *numbers: str) -> dict[tuple[tuple[str, int], ...], tuple[float, ...]]:
    """Read JSON lines of a policy and what was found of it, the last of equal policies; see `read_lines`.

    Args:
        path: the file.
        numbers: keys beside ``channels``.

    Returns:
        The policy's items -> the numbers.

    Raises:
        RunFolderError: the file cannot be read, or a line of it is damaged.
    """
    found = {}
    for number, line in enumerate(read_lines(path), start=1):
        try:
            channels, values = dict(line["channels"]), tuple(float(line[name]) for name in numbers)
            sound = all(map(math.isfinite, values)) and all(type(count) is int for count in channels.values())
        except (KeyError, TypeError, ValueError, OverflowError):
            sound = False
        if not sound:
            raise RunFolderError(
                f"line {number} of {path} is damaged; delete it and all lines after it: the same command goes on from "
                "there."
            )
        found[tuple(channels.items())] = values
    return found
