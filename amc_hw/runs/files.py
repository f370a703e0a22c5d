"""Reading and writing a run folder's files so that a kill or a full disk loses at most the line under way."""

from __future__ import annotations

import json
import logging
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amc_hw.errors import RunFolderError, WrongRunError
from amc_hw.runs.file_names import maker

_LOG = logging.getLogger(__name__)


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
    """Refuse a file that cannot be written, before the work begins whose result it is for.

    Its folder may be missing, which is said, because it is made with the file; more than that is taken for a slip.

    Raises:
        WrongRunError: it is a folder, or the folder that its folder is in does not exist.
        RunFolderError: it must not be written.
    """
    if path.is_dir():
        raise WrongRunError(f"{path} is a folder; name a file.")
    if not path.exists():
        _require_room(path.parent, 1, "name another file")
        if not path.parent.exists():
            _LOG.info("the folder %s does not exist yet; it is made for %s", path.parent, path.name)
        return
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}; name another file.") from error


def require_room(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before the work begins whose results it is for.

    It may be missing, and the one that it is in (``runs/mine``); more than that is taken for a slip.

    Raises:
        WrongRunError: it is a file, it must not be written, or more than that is missing.
    """
    require_folder(folder)
    _require_room(folder, 2, "name another folder")


def _require_room(folder: Path, missing: int, cure: str) -> None:
    """Make something in a folder and remove it; of it and the folders around it so many may be missing."""
    near, there = [folder, *folder.parents][: missing + 1], None
    try:
        there = next((each for each in near if each.exists()), None)
        if there is not None:
            with tempfile.TemporaryDirectory(dir=there):
                return
    except OSError as error:
        raise WrongRunError(f"cannot write in {there or folder}: {error.strerror or error}; {cure}.") from error
    raise WrongRunError(f"there is no folder {near[-1]}; make it (mkdir -p {shlex.quote(str(near[-1]))}), or {cure}.")


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


def write_scratch(path: Path, content: bytes) -> None:
    """Write a file for this process and those that it starts, which need not outlive them.

    What was there is removed first, because ext4 waits for the disk where a file takes another's place.
    """
    with _explained(path):
        path.unlink(missing_ok=True)
        path.write_bytes(content)


def require_folder(path: Path) -> None:
    """Raise WrongRunError where a file is in the place of a folder."""
    if path.exists() and not path.is_dir():
        raise WrongRunError(f"{path} is a file; name a folder.")


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
        raise damaged(path, str(error)) from error


def damaged(path: Path, reason: str, field: str = "", line: int | None = None) -> RunFolderError:
    """Return the error of a file that does not hold what it should, with the cure.

    Args:
        path: the file.
        reason: what is wrong.
        field: the place in the document, or in the line.
        line: counted from 1; None where the file is one document.
    """
    place = [part for part in (f"line {line}" if line else "", field) if part]
    if line is None:
        cure = f"delete it and make it again with: {maker(path)}"
    else:
        cure = f"delete that line and all lines after it (or choose another run folder), and go on with: {maker(path)}"
    return RunFolderError(f"{path} is damaged ({': '.join(['.'.join(place), reason] if place else [reason])}); {cure}")


def append_line(path: Path, document: Any) -> None:
    """Append one JSON line and push it to the disk before returning."""
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(document, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_lines(path: Path) -> list[Any]:
    """Read the JSON lines of a file, none where it is missing; what a kill left of a last line is removed.

    Raises:
        RunFolderError: the file cannot be read, or a line is damaged.
    """
    documents, unreadable = readable_lines(path)
    for number, reason in unreadable.items():
        raise damaged(path, reason, line=number)
    return list(documents.values())


def readable_lines(path: Path, *, mend: bool = True) -> tuple[dict[int, Any], dict[int, str]]:
    """Read the JSON lines of a file, none where it is missing; a last line cut short by a kill is left out.

    Args:
        path: the file.
        mend: remove what is left of that line from the file, too.

    Returns:
        The lines by number, from 1, and why others cannot be read.

    Raises:
        RunFolderError: the file cannot be read.
    """
    if not path.exists():
        return {}, {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(
            f"cannot read {path}: {error.strerror or error}; move it away, then run the same command again."
        ) from error
    whole = content[: content.rfind(b"\n") + 1]
    documents: dict[int, Any] = {}
    unreadable: dict[int, str] = {}
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            documents[number] = json.loads(line)
        except (ValueError, RecursionError) as error:
            unreadable[number] = str(error)
    if mend and whole != content:
        write_bytes(path, whole)
    return documents, unreadable
