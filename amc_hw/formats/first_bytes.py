"""Whether a file can be of a format, told by its ending and its first bytes: nothing heavy is loaded for that."""

from __future__ import annotations

from pathlib import Path

from amc_hw.errors import UsageError

_BEGINS = {".tflite": b"TFL3", ".onnx": b"\x08", ".pte": b"ET", ".aten": b"PK"}
"""What the first bytes of a file hold: the identifier of a flatbuffer, an ONNX file's version, a zip archive's mark."""
_FIRST = 8


def require_ending(file: Path) -> None:
    """Raise UsageError where a file's ending is no format's."""
    if file.suffix not in _BEGINS:
        raise UsageError(
            f"{file.name} is none of the formats {', '.join(each[1:] for each in _BEGINS)}, which its ending must "
            "name; PyTorch weights are evaluated in their run: amc-hw evaluate --run RUN"
        )


def require_content(file: Path, cure: str) -> None:
    """Raise UsageError where a file's ending is no format's, or it begins as no file of its format does."""
    require_ending(file)
    with file.open("rb") as opened:
        begin = opened.read(_FIRST)
    if _BEGINS[file.suffix] not in begin:
        raise UsageError(f"{file} is called {file.suffix}, but its content is something else; {cure}")
