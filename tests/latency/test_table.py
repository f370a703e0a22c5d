"""The table's file: read back exactly, and everything unsound in it refused with its place."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from amc_hw.errors import TableError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table, parse_table
from amc_hw.latency.table import Entry, LatencyTable
from amc_hw.profiling.profile import default_table

CONV = "CONV_2D 1x8x8xC,1x8x8xC k=1x1 s=1 pad=same act=relu"
PAD = "PAD 1x8x8xC,1x10x10xC"
FINGERPRINT = Fingerprint(
    device="board", processor="cpu", system="os", runtime="litert", runtime_version="2.0", threads=1, cores="0",
    delegate="none",
)  # fmt: skip


def document() -> dict[str, Any]:
    entries = [Entry.of(CONV, c, 2 * c, [c * 1.25 + i for i in range(8)]) for c in range(8, 8 + 18)]
    entries.append(Entry.of(PAD, 8, 8, [0.0, 1.0]))
    return {
        "format": 2,
        "fingerprint": FINGERPRINT.model_dump(),
        "created": "2026-01-01T00:00:00+00:00",
        "method": "by hand",
        "entries": [entry.model_dump() for entry in entries],
        "calibration": [{"structure": "abc", "model": "net", "operators_ms": 1.5, "measured_ms": 1.6}],
        "errors": {"abc": {"networks": 2, "mean": 0.01, "worst": 0.02, "left_out": {"net": -0.02}}},
        "notes": ["a note"],
    }


def test_a_table_is_read_back_exactly(tmp_path: Path) -> None:
    table = parse_table(document(), "here")
    path = tmp_path / "table.json"
    table.save(path)
    assert load_table(path) == table
    before = path.read_bytes()
    load_table(path).save(path)
    assert path.read_bytes() == before


def test_a_simulated_device_says_so_in_its_table_and_a_real_one_is_written_as_before(tmp_path: Path) -> None:
    simulated = FINGERPRINT.model_copy(update={"simulated": True})
    assert simulated.differences(FINGERPRINT) == ["simulated: True, False"]
    table = parse_table({**document(), "fingerprint": simulated.model_dump()}, "here")
    table.save(tmp_path / "table.json")
    assert load_table(tmp_path / "table.json").fingerprint == simulated
    assert "simulated" not in FINGERPRINT.model_dump_json()
    assert default_table("board", FINGERPRINT).name == "board-65429bd3.json"
    assert default_table("board", simulated) != default_table("board", FINGERPRINT)


def test_a_table_of_before_is_of_a_simulated_device_where_its_name_says_so() -> None:
    old = {**FINGERPRINT.model_dump(), "processor": "Simulated CPU"}
    assert parse_table({**document(), "fingerprint": old}, "here").fingerprint.simulated
    assert not parse_table({**document(), "fingerprint": {**old, "simulated": False}}, "here").fingerprint.simulated
    assert not parse_table(document(), "here").fingerprint.simulated


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("format",), 5, "update amc-hw"),
        (("format",), 4, "transferred, and it alone, has 4"),
        (("entries", 3, "transferred"), True, "transferred, and it alone, has 4"),
        (("format",), 3, "totals belong to format 3"),
        (("format",), 0, "update amc-hw"),
        (("format",), True, "format"),
        (("fingerprint", "threads"), 0, "fingerprint.threads"),
        (("fingerprint", "device"), None, "fingerprint.device"),
        (("entries", 3, "mean_us"), -1.0, "entries.3.mean_us"),
        (("entries", 3, "mean_us"), 0, "entries.3.mean_us"),
        (("entries", 3, "mean_us"), math.nan, "entries.3.mean_us"),
        (("entries", 3, "std_us"), math.inf, "entries.3.std_us"),
        (("entries", 3, "std_us"), "1", "entries.3.std_us"),
        (("entries", 3, "count"), 10**400, "entries.3.count"),
        (("entries", 3, "c_in"), 0, "entries.3.c_in"),
        (("entries", 3, "c_in"), True, "entries.3.c_in"),
        (("entries", 3, "p90_us"), 0.001, "entries.3"),
        (("entries", 3, "mean_us"), 1e6, "entries.3.*no samples have this mean"),
        (("entries", 3, "mean_us"), 1e-3, "entries.3.*no samples have this mean"),
        (("entries", 3, "family"), "a layer", "no operator"),
        (("entries", 3, "colour"), "red", "entries.3.colour"),
        (("calibration", 0, "measured_ms"), 0.0, "calibration.0.measured_ms"),
        (("errors", "abc", "mean"), -0.1, "errors.abc.mean"),
        (("errors", "abc", "left_out"), {"net": -1.0}, "left_out.net"),
        (("errors", "abc", "networks"), 0, "errors.abc.networks"),
    ],
)
def test_impossible_values_are_refused_with_their_place(path: tuple[Any, ...], value: Any, says: str) -> None:
    made = document()
    place = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(TableError, match=says):
        parse_table(made, "here")


def test_missing_values_and_repeated_entries_are_refused() -> None:
    for key in ("fingerprint", "created", "method"):
        made = document()
        del made[key]
        with pytest.raises(TableError, match=key):
            parse_table(made, "here")
    made = document()
    del made["entries"][0]["p90_us"]
    with pytest.raises(TableError, match=r"entries\.0\.p90_us"):
        parse_table(made, "here")
    made = document()
    made["entries"].append(made["entries"][0])
    with pytest.raises(TableError, match="twice"):
        parse_table(made, "here")


@pytest.mark.parametrize(
    ("name", "shown"), [("two\nlines", r"two\nlines"), ("\x1b[31mred", r"\x1b[31mred"), ("\ud800", "its root")]
)
def test_a_field_is_named_in_one_line_whatever_its_name(name: str, shown: str) -> None:
    with pytest.raises(TableError) as refused:
        parse_table({**document(), name: 1}, "here")
    assert str(refused.value).startswith(f"here has a bad value at {shown}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'{"format": 1}', b"null"])
def test_files_that_are_no_table_are_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"broken\.json"):
        load_table(path)


def test_another_device_is_refused_with_the_field(tmp_path: Path) -> None:
    table = parse_table(document(), "here")
    other = FINGERPRINT.model_copy(update={"threads": 2})
    with pytest.raises(TableError, match="threads: 1, 2"):
        table.require(other, tmp_path)


def test_joined_measurements_are_those_of_all_samples() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(100, 2, 40), random.normal(120, 2, 120)
    ours, theirs = Entry.of(CONV, 8, 8, first), Entry.of(CONV, 8, 8, second)
    both = ours.joined(theirs)
    samples = np.concatenate([first, second])
    assert both.count == 160
    assert both.std_us == pytest.approx(samples.std(), rel=0.05)
    assert ours.mean_us < both.mean_us < theirs.mean_us


def test_a_steady_measurement_replaces_an_unstable_one() -> None:
    shaky, steady = Entry.of(CONV, 8, 8, [10, 90, 300], unstable=True), Entry.of(CONV, 8, 8, [10, 10, 11])
    assert shaky.joined(steady) == steady.joined(shaky) == steady
    assert shaky.joined(shaky).unstable


ODD = [
    math.nan,
    math.inf,
    -0.0,
    -1,
    0,
    0.5,
    1,
    7,
    1e308,
    10**400,
    1e-320,
    True,
    None,
    "",
    "1",
    "\ud800",
    CONV,
    PAD,
    [],
    {},
]
BASE = json.dumps({**document(), "entries": document()["entries"][:4]})


def mutated_table(random: Random) -> bytes:
    """A table's file with one to three places changed, and sometimes cut or with a byte changed."""
    made = json.loads(BASE)
    for _ in range(random.randint(1, 3)):
        node = made
        while True:
            key = random.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not (isinstance(node[key], (dict, list)) and node[key] and random.random() < 0.9):
                break
            node = node[key]
        change = random.choice(["odd", "odd", "scale", "drop", "rename", "double"])
        if change == "odd":
            node[key] = random.choice(ODD)
        elif change == "scale" and isinstance(node[key], float):
            node[key] *= random.choice([-1, 1e-9, 0.1, 3, 1e12])
        elif change == "double" and isinstance(node, list):
            node.append(node[key])
        elif change == "rename" and isinstance(node, dict):
            node[key[::-1]] = node.pop(key)
        elif change == "drop" and len(made) > 1:
            del node[key]
        if not made:
            break
    content = json.dumps(made).encode()
    kind, at = random.choice(["whole", "whole", "whole", "cut", "byte"]), random.randrange(len(content))
    if kind == "cut":
        return content[:at]
    if kind == "byte":
        return content[:at] + bytes([random.randrange(256)]) + content[at + 1 :]
    return content


def test_mutated_tables_give_a_right_answer_or_a_clear_error(tmp_path: Path) -> None:
    for seed in range(10_000):
        assert_right_or_refused(seed, tmp_path / "table.json")


def assert_right_or_refused(seed: int, mutated_file: Path) -> None:
    mutated_file.write_bytes(mutated_table(Random(seed)))
    try:
        table = load_table(mutated_file)
    except TableError as error:
        message = str(error)
        assert str(mutated_file) in message
        assert "\n" not in message
        assert message.encode()
        return
    # It was let in, so it is sound: the same again, and it predicts what can be.
    assert parse_table(json.loads(json.dumps(table.model_dump())), "again") == table
    assert all(0 < value < math.inf for e in table.entries for value in (e.mean_us, e.median_us, e.p90_us))
    if any(entry.family == CONV for entry in table.entries):
        operator = Operator("CONV_2D", ("k=1x1", "s=1", "pad=same", "act=relu"), ((1, 8, 8, 9),), ((1, 8, 8, 20),), 9)
        (latency,) = Predictor(table).operators_ms([operator])
        assert 0 < latency < math.inf


def test_new_tables_save_without_entries(tmp_path: Path) -> None:
    empty = LatencyTable(fingerprint=FINGERPRINT, created="2026-01-01T00:00:00+00:00", method="m")
    empty.save(tmp_path / "empty.json")
    assert load_table(tmp_path / "empty.json") == empty
