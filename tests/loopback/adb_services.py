"""What an adb daemon offers on its streams: shell (v1 and v2), exec, and sync (stat, list, push, pull).

Protocol: AOSP packages/modules/adb/{SERVICES.TXT, SYNC.TXT, shell_protocol.h, file_sync_protocol.h}.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import struct
import subprocess
import threading
from typing import IO, Any

ENVIRONMENT = {
    "ANDROID_DATA": "/data",
    "ANDROID_ROOT": "/system",
    "HOME": "/",
    "HOSTNAME": "loopback",
    "LOGNAME": "shell",
    "PATH": "/system/bin",
    "SHELL": "/bin/sh",
    "TMPDIR": "/data/local/tmp",
    "USER": "shell",
}
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
MAX_CHUNK = 64 * 1024


def shell(stream: Any, service: str) -> None:
    """Run `shell:CMD`, `exec:CMD` or `shell,v2,...:CMD`; without v2 the output has no status and one channel.

    When the host goes away, only the `sh` is signalled, as on Android: what it started may live on.
    """
    kind, command = service.split(":", 1)
    version_2 = "v2" in kind.split(",")
    process = subprocess.Popen(
        ["/system/bin/sh", "-c", os.fsencode(command)] if command else ["/system/bin/sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if version_2 else subprocess.STDOUT,
        start_new_session=True,
        env=ENVIRONMENT,
        cwd="/",
    )

    def forward(pipe: IO[bytes], channel: int) -> None:
        try:
            while data := pipe.read1(MAX_CHUNK):  # type: ignore[attr-defined]
                stream.write(struct.pack("<BI", channel, len(data)) + data if version_2 else data)
        except BrokenPipeError:
            pass
        pipe.close()

    def feed() -> None:
        source = Reader(stream)
        try:
            while True:
                if not version_2:
                    if not (data := stream.read()):
                        break
                else:
                    channel, size = struct.unpack("<BI", source.read(5))
                    data = source.read(size)
                    if channel == CLOSE_STDIN:
                        process.stdin.close()
                        continue
                    if channel != STDIN:
                        continue
                process.stdin.write(data)
                process.stdin.flush()
        except (EOFError, OSError, ValueError):
            pass
        stream.closed.wait()
        if process.poll() is None:
            process.send_signal(signal.SIGHUP)
        with contextlib.suppress(OSError):
            process.stdin.close()

    threading.Thread(target=feed, daemon=True).start()
    pumps = [threading.Thread(target=forward, args=(process.stdout, STDOUT), daemon=True)]
    if version_2:
        pumps.append(threading.Thread(target=forward, args=(process.stderr, STDERR), daemon=True))
    for pump in pumps:
        pump.start()
    for pump in pumps:
        pump.join()
    status = process.wait()
    if version_2:
        stream.write(struct.pack("<BIB", EXIT, 1, status if status >= 0 else 128 - status))
    stream.end()


class Reader:
    """Reads exact numbers of bytes: the frames inside a stream do not keep to its packets."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.buffer = stream, b""

    def read(self, size: int) -> bytes:
        while len(self.buffer) < size:
            data = self.stream.read()
            if not data:
                raise EOFError
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data


def sync(stream: Any, service: str) -> None:
    """Answer file requests until QUIT."""
    source = Reader(stream)
    while True:
        request, size = struct.unpack("<4sI", source.read(8))
        if request == b"QUIT":
            return
        path = source.read(size)
        if request in (b"STAT", b"STA2", b"LST2"):
            stream.write(request + stat_fields(path, request))
        elif request in (b"LIST", b"LIS2"):
            list_folder(stream, path, request)
        elif request == b"RECV":
            pull(stream, path)
        elif request == b"SEND":
            if not push(stream, source, path):
                return
        else:
            fail(stream, f"unknown command {request!r}")
            return


def fail(stream: Any, reason: str) -> None:
    stream.write(struct.pack("<4sI", b"FAIL", len(reason.encode())) + reason.encode())


def stat_fields(path: bytes, request: bytes) -> bytes:
    """Version 1: mode, size and time, zeros for what is missing. Version 2: error number and everything."""
    if request in (b"STAT", b"LIST"):
        try:
            found = os.lstat(path)
        except OSError:
            return struct.pack("<3I", 0, 0, 0)
        return struct.pack("<3I", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
    try:
        found = os.stat(path) if request == b"STA2" else os.lstat(path)
    except OSError as error:
        return struct.pack("<I2Q4IQ3q", error.errno or errno.EIO, *[0] * 10)
    return struct.pack(
        "<I2Q4IQ3q", 0, found.st_dev, found.st_ino, found.st_mode, found.st_nlink, found.st_uid, found.st_gid,
        found.st_size, int(found.st_atime), int(found.st_mtime), int(found.st_ctime),
    )  # fmt: skip


def list_folder(stream: Any, path: bytes, request: bytes) -> None:
    entry, zeros = (b"DENT", 16) if request == b"LIST" else (b"DNT2", 72)
    try:
        names = sorted(os.listdir(path))
    except OSError:
        names = []
    for name in names:
        fields = stat_fields(os.path.join(path, name), request)
        stream.write(entry + fields + struct.pack("<I", len(name)) + name)
    stream.write(b"DONE" + bytes(zeros))


def pull(stream: Any, path: bytes) -> None:
    try:
        with open(path, "rb") as file:
            while data := file.read(MAX_CHUNK):
                stream.write(struct.pack("<4sI", b"DATA", len(data)) + data)
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(stream, f"open failed: {error.strerror}")
        return
    stream.write(struct.pack("<4sI", b"DONE", 0))


def push(stream: Any, source: Reader, request: bytes) -> bool:
    """Write a file and return whether that went well.

    After a failure the rest is read and thrown away, because old hosts do not listen before they are done.
    """
    path, _, mode = request.rpartition(b",")
    problem, file = "", None
    try:
        os.makedirs(os.path.dirname(path) or b"/", exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        problem = f"couldn't create file: {error.strerror}"
        fail(stream, problem)
    done = False
    try:
        while True:
            kind, size = struct.unpack("<4sI", source.read(8))
            if kind == b"DONE":
                done = not problem
                break
            data = source.read(size)
            try:
                while data and file and not problem:
                    data = data[os.write(file, data) :]
            except OSError as error:
                problem = f"write failed: {error.strerror}"
                fail(stream, problem)
    finally:
        if file:
            os.close(file)
            if not done:
                os.unlink(path)  # half a file is none
    if done:
        os.chmod(path, stat.S_IMODE(int(mode)) or 0o644)
        os.utime(path, (size, size))
        stream.write(struct.pack("<4sI", b"OKAY", 0))
    return done
