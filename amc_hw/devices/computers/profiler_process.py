"""Talks to a profiler program: JSON lines, one process for a whole session, started again once if it dies."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from amc_hw.errors import DeviceError

MOST_OF_A_REASON = 400
Answer: TypeAlias = dict[str, Any]
"""A request or an answer, one JSON line: names with values that each program defines."""


class ProfilerDiedError(DeviceError):
    """The program ended twice instead of answering.

    Attributes:
        status: its exit status.
        message: the last line that it wrote to stderr.
    """

    def __init__(self, what: str, status: int | None, message: str) -> None:
        super().__init__(f"the profiler died twice on '{what}': {message}")
        self.status = status
        self.message = message


class RequestFailedError(DeviceError):
    """The program could not do what it was asked; it lives.

    Attributes:
        reason: what it says, on one line.
    """

    def __init__(self, what: str, reason: str) -> None:
        self.reason = " ".join(reason.split())[:MOST_OF_A_REASON].rstrip(" .")
        super().__init__(f"the profiler could not do '{what}': {self.reason}")


class ProfilerProcess:
    """A profiler program that answers one request at a time.

    Args:
        command: the program with its arguments.
        timeout_s: longest wait for one answer.
        greeting: what the program is told when it starts, before any request.
    """

    def __init__(self, command: Sequence[str], timeout_s: float = 600.0, greeting: bytes = b"") -> None:
        self._command = list(command)
        self._greeting = greeting
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the session
        self._buffer = b""

    def request(self, **request: Any) -> Answer:
        """Send one request and return its answer.

        A profiler that dies is started again and the request is tried once more.

        Raises:
            ProfilerDiedError: it died twice.
            RequestFailedError: it answered with an error.
            DeviceError: it was silent for too long.
        """
        for attempt in (1, 2):
            try:
                answer = self._ask(request)
            except (BrokenPipeError, EOFError) as error:
                status = self._exit_status()
                if attempt == 2:
                    raise ProfilerDiedError(str(request.get("do")), status, self._last_message()) from error
                continue
            if "error" in answer:
                raise RequestFailedError(str(request.get("do")), str(answer["error"]))
            return answer
        raise AssertionError("unreachable")

    def _ask(self, request: Answer) -> Answer:
        process = self._start()
        if process.stdin is None or process.stdout is None:
            raise EOFError
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + self._timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(deadline - time.monotonic()):
                    self.close()
                    raise DeviceError(
                        f"the profiler gave no answer to '{request.get('do')}' within {self._timeout_s:.0f} s; "
                        "is the machine overloaded, or the model very slow?"
                    )
                read = os.read(process.stdout.fileno(), 1 << 16)
                if not read:
                    raise EOFError
                self._buffer += read
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            answer: Answer = json.loads(line)
        except ValueError as error:
            self.close()
            raise DeviceError(
                f"the profiler answered '{line[:60].decode(errors='replace')}': something else prints there, perhaps a "
                "login file of that machine (.bashrc); make it silent where nobody sits at a terminal."
            ) from error
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._buffer = b""
            try:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._messages
                )
            except OSError as error:
                raise DeviceError(f"cannot start the profiler {self._command[0]}: {error.strerror}.") from error
            if self._greeting and self._process.stdin is not None:
                self._process.stdin.write(self._greeting)
        return self._process

    def _exit_status(self) -> int | None:
        """Return the exit status of a program that closed its output."""
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process is not None:
                process.wait(timeout=5)
        status = process.returncode if process is not None else None
        self.close()
        return status

    def _last_message(self) -> str:
        self._messages.seek(0)
        lines = [line for line in self._messages.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing."

    def close(self) -> None:
        """End the program."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # the program is gone already
                    stream.close()
        process.kill()
        process.wait()
