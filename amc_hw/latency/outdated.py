"""What is doubtful about a table of an older format, and how to measure it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

_MEASURED = "of random channel counts"
"""In the method of every table that was measured in files that amc-hw wrote, and of none that was made from logs."""
_TFLITE = {"litert": "host", "benchmark_model": "android:SERIAL"}
"""Runtimes of TFLite files, and the device to name for them."""


_DOUBT = "this table is of format 1"


def doubt_of(method: str, runtime: str, threads: int, models: Iterable[str], place: str) -> str:
    """Return why a table of format 1 is not to be trusted, and how to measure it again; nothing where it is sound.

    TFLite files that were written for tables of format 1 could have biases shorter or longer than their convolutions'
    outputs. Tables from logs, and of other file formats, are as good as those of format 2.

    Args:
        method: how the table says that it was made.
        runtime: of its fingerprint.
        threads: of its fingerprint.
        models: the networks that it was measured with.
        place: its file.
    """
    if _MEASURED not in method or runtime not in _TFLITE:
        return ""
    file, device = shlex.quote(place), _TFLITE[runtime] + (f":threads={threads}" if threads > 1 else "")
    commands = [f"mv {file} {shlex.quote(place + '.old')}"]
    commands += [
        f"amc-hw profile --device {device} --model {shlex.quote(model)} --table {file}"
        for model in dict.fromkeys(models) or ["MODEL"]
    ]
    return (
        f"{_DOUBT}: an older amc-hw measured it in files with wrong bias shapes, so its times may be off; "
        f"measure it again: {' && '.join(commands)}"
    )


def outdated(notes: Iterable[str]) -> list[str]:
    """Return those of a table's notes that say not to trust it, with the command that measures it again."""
    return [note for note in notes if note.startswith(_DOUBT)]
