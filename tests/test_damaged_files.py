"""Files of networks that are damaged: what reads them answers, or says in a sentence that it cannot."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
from computer_fixtures import small_files
from phone_fixtures import small_model

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.registry import FORMATS, load_file

__all__ = ["small_files", "small_model"]


def damaged(content: bytes, random: Random) -> bytes:
    at = 4 * random.randrange(len(content) // 4)
    if random.random() < 0.5:
        return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
    return content[:at] + random.choice([b"\xff" * 4, bytes(4), b"\1\0\0\0"]) + content[at + 4 :]


@pytest.mark.parametrize("name", ["tflite", "onnx", "aten"])
def test_a_damaged_graph_is_read_or_refused_in_a_sentence(small_files: dict[str, Path], name: str) -> None:
    random, content, reasons = Random(0), small_files[name].read_bytes(), list[str]()
    # Most of a file are weights, which may be anything; what describes them stands at its ends.
    for head in (True, False) * 300:
        part = content[:800] if head else content[-800:]
        changed = damaged(part, random)
        try:
            FORMATS[name].read(changed + content[800:] if head else content[:-800] + changed)
        except UnsupportedModelError as error:
            reasons.append(str(error))
    assert len(reasons) > 20
    assert {len(reason.splitlines()) for reason in reasons} == {1}


def test_pickled_code_instead_of_an_array_is_not_run(small_files: dict[str, Path], tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "run",))

    content = io.BytesIO()
    with zipfile.ZipFile(small_files["aten"]) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Code()) if name.startswith("weight") else old.read(name))
    (tmp_path / "m.aten").write_bytes(content.getvalue())
    with pytest.raises(UnsupportedModelError, match=r"m\.aten: the file is damaged"):
        load_file(tmp_path / "m.aten")
    assert not (tmp_path / "run").exists()


def test_a_long_reason_is_cut(tmp_path: Path) -> None:
    content = io.BytesIO()
    graph = {"calls": [], "shapes": {}, "weights": ["w" * 5000]}
    np.savez(content, graph=np.frombuffer(json.dumps(graph).encode(), np.uint8))
    with pytest.raises(UnsupportedModelError) as caught:
        FORMATS["aten"].read(content.getvalue())
    assert len(str(caught.value)) <= 1100
