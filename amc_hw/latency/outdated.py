"""What is doubtful about a table of an older format, and how to measure it again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amc_hw.latency.table import LatencyTable

_MEASURED = "of random channel counts"
"""In the method of every table that was measured in files that amc-hw wrote, and of none that was made from logs."""
_TFLITE = {"litert": "host", "benchmark_model": "android:SERIAL"}
"""Runtimes of TFLite files, and the device to name for them."""


_DOUBT = "this table is of format 1"


def note_doubts(table: LatencyTable, place: str) -> None:
    """Note in a table of format 1 that it is not to be trusted; where nothing is wrong with it, give it format 2.

    TFLite files that were written for tables of format 1 could have biases shorter or longer than their convolutions'
    outputs. Tables from logs, and of other file formats, are as good as those of format 2.

    Args:
        table: as it was read.
        place: its file.
    """
    if table.format > 1 or outdated(table):
        return
    if _MEASURED in table.method and table.fingerprint.runtime in _TFLITE:
        table.note(
            f"{_DOUBT}: an older amc-hw measured it in files with wrong bias shapes, so its times may be off; "
            f"measure it again: {_measure_again(table, place)}"
        )
    else:
        table.format = 2


def outdated(table: LatencyTable) -> list[str]:
    """Return those of a table's notes that say not to trust it, with the command that measures it again."""
    return [note for note in table.notes if note.startswith(_DOUBT)]


def _measure_again(table: LatencyTable, place: str) -> str:
    """Return the commands that do it, as one line of shell."""
    threads, file = table.fingerprint.threads, shlex.quote(place)
    device = _TFLITE[table.fingerprint.runtime] + (f":threads={threads}" if threads > 1 else "")
    models = list(dict.fromkeys(network.model for network in table.calibration)) or ["MODEL"]
    commands = [f"mv {file} {shlex.quote(place + '.old')}"]
    commands += [f"amc-hw profile --device {device} --model {shlex.quote(model)} --table {file}" for model in models]
    return " && ".join(commands)
