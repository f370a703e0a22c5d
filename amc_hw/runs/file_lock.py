"""Locks among the programs of this user on this computer; a crash releases them."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from amc_hw.errors import DeviceError
from amc_hw.runs.cache import cache_folder
from amc_hw.runs.progress import Progress

POLL_S = 0.2
HELD_HERE: set[str] = set()
"""What this process itself has locked, alone."""


class FileLock:
    """A lock that one program holds alone, or several share.

    Args:
        name: of what is locked.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: IO[str] | None = None
        self._is_alone = False

    def take(self, *, shared: bool = False) -> bool:
        """Take the lock, with others or alone, or change from one to the other; tell whether that was possible.

        Raises:
            DeviceError: the cache folder cannot be written.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no such locks
            return True
        folder = self._path.parent
        try:
            if self._file is None:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w")
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            self._note(alone=not shared)
        except BlockingIOError:
            self.release()
            return False
        except OSError as error:
            raise DeviceError(
                f"cannot lock {self._name} in {folder} ({error.strerror}); set XDG_CACHE_HOME to a folder of yours."
            ) from error
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._note(alone=False)

    def waiting(self, text: str) -> str:
        """Return what is waited for, with the stopped program (Ctrl-Z) that has the lock, if Linux knows of one."""
        stopped = next(filter(_is_stopped, self._holders()), None)
        return f"{text}; process {stopped} has it and is stopped: kill -CONT {stopped}" if stopped else text

    def _holders(self) -> list[str]:
        """Return the processes that have the lock, by what Linux lists; none elsewhere."""
        try:
            held = str(self._path.stat().st_ino)
            lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        except OSError:
            return []
        return [line[4] for line in lines if line[1] == "FLOCK" and line[5].rpartition(":")[2] == held]

    @property
    def _path(self) -> Path:
        return cache_folder("locks") / re.sub(r"[^A-Za-z0-9.-]", "_", self._name)

    def _note(self, *, alone: bool) -> None:
        if alone:
            HELD_HERE.add(self._name)
        elif self._is_alone:
            HELD_HERE.discard(self._name)
        self._is_alone = alone


def _is_stopped(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


@contextmanager
def exclusive(run: Path, progress: Progress) -> Iterator[None]:
    """Work in a run folder for the length of a block, once no other program does: two would spoil each other's files.

    Args:
        run: the folder.
        progress: is told while another program has it.

    Raises:
        DeviceError: see `FileLock.take`.
    """
    lock = FileLock(f"run {hashlib.sha256(bytes(run.resolve())).hexdigest()[:16]}")
    try:
        while not lock.take():
            progress(lock.waiting(f"waiting for another amc-hw to leave {run}"))
            time.sleep(POLL_S)
        yield
    finally:
        lock.release()
