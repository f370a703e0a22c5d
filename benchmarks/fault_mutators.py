"""Damages files: single bytes, cuts, lines, numbers, JSON values, and checkpoints that bring code along."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]

NUMBERS = [
    "0",
    "-1",
    "-0.0",
    "NaN",
    "Infinity",
    "1e999",
    "1e308",
    "5e-324",
    "9" * 25,
    "9" * 5000,
    "1_0",
    "0x10",
    "٣",
]
TEXTS = ["\u202e", "\ufeff", "\0", "é" * 300, "\U0001f4a5", "'; rm -rf /", "../../x", "%s{0}", "\r", "\\ud800"]
VALUES: list[Any] = [None, True, [], {}, "", "1", -1, 0, 1.5, 10**30, 1e308, float("nan"), float("inf"), [[]], "\ud800"]
EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000, 0xFFFF]


def flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 2, 8, 64])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, random: Random) -> bytes:
    """Put an extreme 32-bit number where one may have been."""
    at = 4 * random.randrange(max(1, len(content) // 4))
    return content[:at] + random.choice(EXTREMES).to_bytes(4, "little") + content[at + 4 :]


def truncate(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def cut_out(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content))
    return content[:start] + content[start + random.randint(1, 200) :]


def repeat(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content))
    return content[:start] + content[max(0, start - random.randint(1, 200)) :]


def garble(content: bytes, random: Random) -> bytes:
    start, size = random.randrange(len(content)), random.randint(1, 64)
    return content[:start] + random.randbytes(size) + content[start + size :]


def lines(content: bytes, random: Random) -> bytes:
    """Remove, repeat or exchange lines."""
    every = content.splitlines(keepends=True)
    one, other = random.randrange(len(every)), random.randrange(len(every))
    how = random.randrange(3)
    if how == 0:
        del every[one]
    elif how == 1:
        every.insert(other, every[one])
    else:
        every[one], every[other] = every[other], every[one]
    return b"".join(every)


def number(content: bytes, random: Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not found:
        return flip(content, random)
    place = random.choice(found)
    return content[: place.start()] + random.choice(NUMBERS).encode() + content[place.end() :]


def text(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + random.choice(TEXTS).encode() + content[at:]


def encoding(content: bytes, random: Random) -> bytes:
    decoded = content.decode(errors="replace")
    return decoded.encode(random.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp1252"]), errors="replace")


def json_value(content: bytes, random: Random) -> bytes:
    """Change, remove, add or nest one value of a JSON document, or of one line of JSON lines."""
    every = content.splitlines()
    one = random.randrange(len(every))
    as_lines = len(every) > 1 and every[one].startswith(b"{") and every[one].endswith(b"}")
    try:
        document = json.loads(every[one] if as_lines else content)
    except (ValueError, RecursionError):  # it was damaged before
        return flip(content, random)
    changed = "[" * 100_000 if random.random() < 0.03 else json.dumps(_changed(document, random))
    if not as_lines:
        return changed.encode()
    every[one] = changed.encode()
    return b"\n".join(every) + b"\n"


def _changed(document: Any, random: Random) -> Any:
    if not isinstance(document, (dict, list)) or not document or random.random() < 0.15:
        return random.choice([*VALUES, [document], {"a": document}])
    keys: list[Any] = list(document) if isinstance(document, dict) else list(range(len(document)))
    key, how = random.choice(keys), random.random()
    if how < 0.12:
        del document[key]
    elif how < 0.2 and isinstance(document, dict):
        document[random.choice(["x", "", "format", "channels", "\ud800"])] = document[key]
    elif how < 0.2:
        document.insert(key, document[key])
    else:
        document[key] = _changed(document[key], random)
    return document


class Exploit:
    """Unpickled, it would make a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (os.system, (f"touch '{self.canary}'",))


def with_code(canary: Path) -> Mutator:
    """Return what puts a pickle with code of its own into a file, in place of it or within its archive."""

    def bring_code(content: bytes, random: Random) -> bytes:
        evil = pickle.dumps({"state_dict": Exploit(canary)}, protocol=random.randrange(5))
        if random.random() < 0.2 or not zipfile.is_zipfile(io.BytesIO(content)):
            return evil
        new = io.BytesIO()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(new, "w") as archive:
                chosen = random.choice([name for name in old.namelist() if name.endswith((".pkl", ".npy"))])
                for name in old.namelist():
                    archive.writestr(name, evil if name == chosen else old.read(name))
        except Exception:  # it was damaged before
            return evil
        return new.getvalue()

    return bring_code


BYTES: tuple[Mutator, ...] = (flip, flip, overwrite, truncate, cut_out, repeat, garble)
TEXT: tuple[Mutator, ...] = (flip, truncate, cut_out, garble, lines, lines, number, number, number, text, encoding)
JSON: tuple[Mutator, ...] = (*TEXT, json_value, json_value, json_value, json_value, json_value)
