"""Files of networks that are damaged: what reads them answers, or says in a sentence that it cannot."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from computer_fixtures import small_files
from phone_fixtures import small_model
from writers import available

from amc_hw.errors import RunFolderError, TableError, UnsupportedModelError
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.latency.read_table import load_table
from amc_hw.runs.begun import read_config

__all__ = ["small_files", "small_model"]

TABLE = Path(__file__).parents[1] / "lookup_tables/epyc-zen5.json"


def damaged(content: bytes, random: Random) -> bytes:
    at = 4 * random.randrange(len(content) // 4)
    if random.random() < 0.5:
        return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
    return content[:at] + random.choice([b"\xff" * 4, bytes(4), b"\1\0\0\0"]) + content[at + 4 :]


@pytest.mark.parametrize("name", ["tflite", "onnx", "pte", "aten"])
def test_a_damaged_graph_is_read_or_refused_in_a_sentence(small_files: dict[str, Path], name: str) -> None:
    available(name)
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


def test_a_file_that_is_read_but_does_not_run_is_refused(small_files: dict[str, Path]) -> None:
    graph = FORMATS["tflite"].read(small_files["tflite"].read_bytes())
    assert isinstance(graph, TfliteGraph)
    filters = next(tensor for tensor in graph.tensors_of(0) if graph.is_constant(tensor))
    buffer = graph.model.buffers[graph.subgraph.tensors[filters].buffer]
    buffer.data, graph.subgraph.tensors[filters].buffer = None, 0
    model = FORMATS["tflite"].load(graph.packed({}, {}, {}))
    with pytest.raises(UnsupportedModelError, match="does not run"):
        model(np.zeros((1, *model.image_size), np.float32))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table["calibration"][0].update(measured_ms=5e-324),
        lambda table: table["entries"][0].update(mean_us=5e-324, median_us=5e-324, p90_us=5e-324),
        lambda table: table.update(format=[{"family": "x" * 5000}]),
        lambda table: table.update(format="a\rb"),
    ],
)
def test_an_impossible_table_is_refused_in_a_short_sentence(change: Callable[[Any], None], tmp_path: Path) -> None:
    table, path = json.loads(TABLE.read_text()), tmp_path / "table.json"
    change(table)
    path.write_text(json.dumps(table))
    with pytest.raises(TableError) as told:
        load_table(path)
    assert len(str(told.value)) < 600
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("command", ["amc-hw compress --model \ud800", "amc-hw compress --model " + "9" * 5000])
def test_damaged_settings_are_told_in_a_short_sentence(command: str, tmp_path: Path) -> None:
    config = {"model": "m", "data": "\ud800", "command": command, "exclude": 1}
    (tmp_path / "config.json").write_text(json.dumps({**config, "precision": "fp" + "9" * 5000}))
    with pytest.raises(RunFolderError) as told:
        read_config(tmp_path)
    assert len(str(told.value)) < 600
    assert len(str(told.value).splitlines()) == 1
