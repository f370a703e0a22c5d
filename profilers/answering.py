"""What the profiler programs share: the loop that answers requests, files that are sent to them, and their machine.

One JSON object a line comes in on stdin, one goes out on stdout. An answer that has "error" tells in a sentence what
went wrong; the program stays alive for the next request. Needs nothing but Python. A program finds this file by
appending its folder to sys.path: at the end, so that nothing here shadows a library.

    {"do": "keep", "name": "x.onnx", "content": "base64 ..."}   -> {"file": "/tmp/.../x.onnx"}
    {"do": "keep", "name": "x.onnx"}                            -> {"file": ...}, or null where it must be sent
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO

Request = dict  # one JSON object
MOST_FILES = 16


class Kept:
    """Files that came in requests, the last few of them.

    Their temporary folder goes away with the program; it is made for the first file, because a program that is
    killed leaves it behind.
    """

    def __init__(self) -> None:
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.files: dict[str, Path] = {}

    def keep(self, request: Request) -> dict[str, object]:
        """Store a file, or tell whether it is here still."""
        name = Path(str(request["name"])).name
        if "content" in request:
            self.files.pop(name, None)
            while len(self.files) >= MOST_FILES:
                self.files.pop(next(iter(self.files))).unlink()
            self.folder = self.folder or tempfile.TemporaryDirectory(prefix="amc-hw-")
            file = Path(self.folder.name) / name
            file.write_bytes(base64.b64decode(str(request["content"])))
            self.files[name] = file
        elif name in self.files:
            self.files[name] = self.files.pop(name)  # the one used last goes last
        return {"file": str(self.files[name]) if name in self.files else None}

    def close(self) -> None:
        """Delete the files."""
        if self.folder is not None:
            self.folder.cleanup()


class Timer(Protocol):
    """What times models: each method answers the request of its name."""

    def describe(self, request: Request) -> dict[str, object]:
        """What this machine and its runtime are."""

    def time_model(self, request: Request) -> dict[str, object]:
        """Time of every run of a whole model."""

    def time_kernels(self, request: Request) -> dict[str, object]:
        """Time of every kernel inside the running model."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what all profiler programs take; a program adds its own options."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=0)
    return options


def serve_timer(timer: Timer) -> None:
    """Answer requests to time models until stdin ends."""
    serve({"describe": timer.describe, "time_model": timer.time_model, "time_kernels": timer.time_kernels})


def serve(verbs: dict[str, Callable[[Request], dict[str, object]]]) -> None:
    """Answer requests until stdin ends."""
    # Runtimes write their messages to stdout, too: answers get a channel of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    end_with(answers)
    kept = Kept()
    known = {**verbs, "keep": kept.keep}
    try:
        for line in sys.stdin:
            request: Request = {}
            try:
                request = json.loads(line)
                answer = known[str(request["do"])](request)
            except Exception as error:  # a bad request must not end the session
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps({"id": request.get("id"), **answer}) + "\n")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # when stdin ends, the readers go, too: not in the middle of this
        kept.close()


def end_with(answers: TextIO) -> None:
    """End the program when nobody reads its answers any more: a cut connection must not leave it measuring.

    A signal ends it, too, so that its temporary folders go with it.
    """

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(1)

    signal.signal(signal.SIGTERM, stop)
    if not hasattr(select, "poll"):  # Windows
        return
    hung_up = select.poll()
    hung_up.register(answers, 0)

    def watch() -> None:
        hung_up.poll()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def hold_to_cores(threads: int) -> str:
    """Hold this process to as many cores as it has threads; return their numbers (``0,1``), or ``any``."""
    if not hasattr(os, "sched_setaffinity"):
        return "any"
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(cores):
        sys.exit(f"this machine has {len(cores)} cores, so threads must be 1 to {len(cores)}.")
    os.sched_setaffinity(0, cores[:threads])
    return ",".join(map(str, cores[:threads]))


def machine() -> dict[str, object]:
    """What this machine is."""
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
    }


def processor_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def nvidia_smi(*fields: str) -> list[str]:
    """Return what nvidia-smi tells of the first GPU, one text for each field; nothing where it is not there."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [text.strip() for text in told.splitlines()[0].split(",")] if told.strip() else []
