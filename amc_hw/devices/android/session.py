"""One session on a phone: its folder, its guard, what was pushed, and the way back after a lost connection."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from amc_hw.devices.android.adb import Adb, ConnectionLostError, Guard, Output, PushError, Waits
from amc_hw.devices.base import NotConnectedError
from amc_hw.errors import DeviceError
from amc_hw.shipped import shipped

FOLDER = "/data/local/tmp/amc-hw"
"""Everything that amc-hw puts on a phone lives here."""

SCRIPTS = ("clean.sh", "guard.sh", "state.sh")
KEPT_MODELS = 4
"""Models that stay on the phone for the next repeat; the oldest makes room."""

RECONNECTIONS = 3
"""Times that one piece of work is begun again after a lost connection."""

RECONNECT_PAUSE_S = 1.0

_Result = TypeVar("_Result")


@dataclass
class Traffic:
    """What a session cost the phone: benchmark_model's starts, other commands, files and bytes pushed."""

    starts: int = 0
    commands: int = 0
    pushes: int = 0
    pushed_bytes: int = 0


class AndroidSession:
    """A phone that is ours for a while.

    Args:
        adb: the way to it.
        waits: the longest waits.
        sleep: waits; tests bring their own.
    """

    def __init__(self, adb: Adb, waits: Waits, sleep: Callable[[float], None] = time.sleep) -> None:
        self.adb = adb
        self.waits = waits
        self.traffic = Traffic()
        self._sleep = sleep
        self._guard: Guard | None = None
        self._present: set[str] = set()
        self._models: list[str] = []
        contents = [(shipped("device_scripts") / name).read_bytes() for name in SCRIPTS]
        self._scripts = f"{FOLDER}/scripts-{hashlib.sha256(b''.join(contents)).hexdigest()[:12]}"

    def recovering(self, work: Callable[[], _Result]) -> _Result:
        """Do something on the phone; after a lost connection, connect again and do it once more from the beginning.

        Raises:
            ConnectionLostError: the phone did not come back, or was lost too often.
        """
        for lost in range(RECONNECTIONS + 1):
            try:
                self._begin()
                return work()
            except ConnectionLostError:
                self._forget()
                if lost == RECONNECTIONS:
                    raise
                self._reconnect()
        raise AssertionError("unreachable")

    def run(self, command: str, timeout_s: float | None = None) -> Output:
        """Run a command, by default a small one."""
        self.traffic.commands += 1
        return self.adb.run(command, timeout_s or self.waits.command_s)

    def script(self, name: str) -> Output:
        """Run one of our scripts on our folder."""
        return self.run(f"exec sh {shlex.quote(f'{self._scripts}/{name}')} {shlex.quote(FOLDER)}")

    def place(self, file: Path, path: str, *, executable: bool = False) -> str:
        """Have a file on the phone and return its path there; nothing is pushed that is there already.

        Args:
            file: on this computer.
            path: below `FOLDER`; it must name the content (by a hash), so that no other file can be taken for it.
            executable: whether it is a program.

        Raises:
            DeviceError: the phone is full, or refuses the file.
        """
        target = f"{FOLDER}/{path}"
        if target in self._present:
            return target
        quoted, folder, size = shlex.quote(target), shlex.quote(target.rsplit("/", 1)[0]), file.stat().st_size
        known = self.run(f"[ -f {quoted} ] && echo present; mkdir -p {folder} && df -k {folder}")
        if "present" not in known.stdout.splitlines():
            self._push(file, target, size, known.stdout)
            part = shlex.quote(f"{target}.part")
            mode = "755" if executable else "644"
            done = self.run(f'[ "$(stat -c %s {part})" = {size} ] && chmod {mode} {part} && mv {part} {quoted}')
            if done.status:
                raise DeviceError(f"{file.name} did not arrive whole on the phone {self.adb.serial}; run this again.")
        self._present.add(target)
        return target

    def _push(self, file: Path, target: str, size: int, disk: str) -> None:
        free = _free_bytes(disk)
        full = DeviceError(
            f"the phone {self.adb.serial} is full: {file.name} needs {size / 1e6:.1f} MB in /data and "
            f"{(free or 0) / 1e6:.1f} MB are free; make room, or run: amc-hw devices --clean android:{self.adb.serial}"
        )
        if free is not None and free < size:
            raise full
        try:
            self.adb.push(file, f"{target}.part")
        except PushError as error:
            left = _free_bytes(self.run(f"rm -f {shlex.quote(f'{target}.part')}; df -k {FOLDER}").stdout)
            if "No space left" in str(error) or (left is not None and left < size):
                raise full from error
            raise DeviceError(f"the phone {self.adb.serial} refused {file.name}: {error}.") from error
        self.traffic.pushes += 1
        self.traffic.pushed_bytes += size

    def place_model(self, file: Path) -> str:
        """Have a TFLite file on the phone, and only the last few of them."""
        path = f"models/{hashlib.sha256(file.read_bytes()).hexdigest()[:20]}.tflite"
        target = f"{FOLDER}/{path}"
        if target not in self._models:
            self._models.append(target)
        for old in self._models[:-KEPT_MODELS]:
            self.run(f"rm -f {shlex.quote(old)}")
            self._present.discard(old)
        self._models = self._models[-KEPT_MODELS:]
        return self.place(file, path)

    def remove_folder(self) -> None:
        """Remove everything that amc-hw ever put on the phone, after ending and restoring what it changed."""
        self.recovering(lambda: self.script("clean.sh"))
        self._forget()
        done = self.adb.run(f"rm -rf {shlex.quote(FOLDER)}", self.waits.command_s)
        if done.status:
            raise DeviceError(f"cannot remove {FOLDER} on the phone {self.adb.serial}: {done.stderr.strip()}")

    def close(self) -> None:
        """Leave the phone as it was found; where the connection is broken, its guard does that by itself."""
        guard, self._guard = self._guard, None
        if guard is not None:
            with contextlib.suppress(DeviceError):
                self.script("clean.sh")
            guard.close()
        self.adb.close()

    def _begin(self) -> None:
        """Put our scripts on the phone and start the guard, which first ends what an earlier session left."""
        if self._guard is not None:
            return
        for name in SCRIPTS:
            self.place(shipped("device_scripts") / name, f"{self._scripts.removeprefix(f'{FOLDER}/')}/{name}")
        words = ["exec", "sh", f"{self._scripts}/guard.sh", FOLDER, uuid.uuid4().hex]
        self._guard = self.adb.guard(shlex.join(words))

    def _forget(self) -> None:
        self._guard = None
        self._present.clear()
        self._models.clear()

    def _reconnect(self) -> None:
        deadline = time.monotonic() + self.waits.reconnect_s
        while True:
            try:
                self.adb.reconnect()
                return
            except NotConnectedError as error:
                if time.monotonic() > deadline:
                    raise ConnectionLostError(
                        f"the phone {self.adb.serial} was lost and did not come back within "
                        f"{self.waits.reconnect_s:g} s ({error}); connect it and run the same command again: what was "
                        "measured is kept."
                    ) from error
            self._sleep(min(RECONNECT_PAUSE_S, self.waits.reconnect_s))


def _free_bytes(disk: str) -> int | None:
    """Read the last line of ``df -k``; None where it cannot be read."""
    lines = disk.splitlines()
    fields = lines[-1].split() if lines else []
    numbers = [int(field) for field in fields if re.fullmatch(r"\d{1,15}", field)]
    return numbers[2] * 1024 if len(numbers) >= 3 else None
