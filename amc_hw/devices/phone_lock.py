"""One amc-hw at a time on a phone: two would disturb, and end, each other's measurements."""

from __future__ import annotations

import re
from typing import IO

from amc_hw.cache import cache_folder
from amc_hw.errors import DeviceError


class PhoneLock:
    """A lock on a phone among the programs of this user on this computer; a crash releases it.

    Args:
        phone: the phone's serial number.

    Raises:
        DeviceError: another program measures there.
    """

    def __init__(self, phone: str) -> None:
        self._file: IO[str] | None = None
        try:
            import fcntl
        except ImportError:  # Windows has no such locks
            return
        cache = cache_folder("locks")
        try:
            cache.mkdir(parents=True, exist_ok=True)
            self._file = (cache / re.sub(r"[^A-Za-z0-9.-]", "_", phone)).open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeviceError(f"another amc-hw is measuring on the phone {phone}; wait until it is done.") from error
        except OSError as error:
            raise DeviceError(f"cannot lock the phone {phone} in {cache}: {error}.") from error

    def release(self) -> None:
        """Let others measure."""
        if self._file is not None:
            self._file.close()
            self._file = None
