"""What happens to files on their way: lines and bytes that are lost, doubled, moved or changed."""

from __future__ import annotations

import re

from hypothesis import strategies as st

ODD_NUMBERS = ["nan", "-nan", "inf", "1e999", "0", "-0", "9" * 400, "٣", "1_0", "", "0x10", "1e-7"]
NUMBERS = st.integers(-5, 100_000).map(str) | st.floats(0, 1e4).map("{:.3f}".format) | st.sampled_from(ODD_NUMBERS)
KINDS = st.sampled_from(["drop", "double", "swap", "move", "byte", "number", "cut"])
CHANGE = st.tuples(KINDS, st.floats(0, 1, exclude_max=True), st.integers(0, 255), NUMBERS)


def mutated(text: bytes, kind: str, place: float, byte: int, value: str) -> bytes:
    lines = text.split(b"\n")
    at, position = int(place * len(lines)), int(place * len(text))
    if kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "swap":
        lines[at], lines[at - 1] = lines[at - 1], lines[at]
    elif kind == "move":
        lines.insert(byte % len(lines), lines.pop(at))
    elif kind == "byte":
        return text[:position] + bytes([byte]) + text[position + 1 :]
    elif kind == "cut":
        return text[:position]
    elif found := list(re.finditer(rb"\d+(\.\d+)?", text)):
        number = found[int(place * len(found))]
        return text[: number.start()] + value.encode() + text[number.end() :]
    return b"\n".join(lines)
