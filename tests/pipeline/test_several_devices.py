"""One network for several devices: a budget holds on each, by the table in the search and by the clock at the end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import TINY, amc_hw
from simulated_device import SimulatedDevice, microseconds

from amc_hw.budget.budget import parse_budget
from amc_hw.devices.base import Device, Kernel, NotConnectedError
from amc_hw.errors import UsageError, WrongRunError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.operators import Operator
from amc_hw.pipeline.other_devices import OtherDevice
from amc_hw.pipeline.several_settings import measured_first
from amc_hw.pipeline.summary import original_in_fp32
from amc_hw.pipeline.verify import _forget_last_misses
from amc_hw.runs.begun import open_run, read_config, require_same_run
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import ChosenPolicy, Miss, OriginalTimes


class ByPositions(SimulatedDevice):
    """Computes: what has many positions is expensive, as the first layers are."""

    name = "host"


class ByWeights(SimulatedDevice):
    """Loads weights: what has many of them is expensive, as the last layers are; positions cost nothing."""

    name = "onnx"
    missed = 1.0  # how many times as long the last benchmark takes
    extra_us = 0.0  # for every network but those that tables are made of

    def fingerprint(self) -> Fingerprint:
        return super().fingerprint().model_copy(update={"device": "by weights"})

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        late = self.missed if file.stem == "model" else 1.0
        extra_us = self.extra_us if file.stem != "network" else 0.0
        return [extra_us + late * self.overhead * sum(map(by_weights, self._operators(file)))] * runs

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        times = ((each.kind, by_weights(each)) for each in self._operators(file))
        return [Kernel(kind, (time,) * runs) for kind, time in times if time]


def by_weights(operator: Operator) -> float:
    """Latency in us; paddings are fused and take none."""
    return 2.0 + operator.c_out * max(operator.fan_in, 1) / 1e2 if microseconds(operator) else 0.0


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """`host` and `onnx` are simulated, and disagree about what is expensive."""

    def opened(name: str, *_: object) -> Device:
        return {"host": ByPositions, "onnx": ByWeights}[name]()

    monkeypatch.setattr("amc_hw.devices.turns.open_or_predict", opened)


def options(checkpoint: Path, run: Path, *more: object) -> list[object]:
    return [
        *("compress", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--precision", "fp32"),
        *("--device", "host", "--device", "onnx", "--episodes", 6, "--strategy", "random", "--epochs", 1),
        *("--run", run, *more),
    ]


def test_budgets_hold_on_devices_that_disagree(
    two: None, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert amc_hw(*options(checkpoint, run, "--latency", "host=0.7x,onnx=0.5x")) == 0
    table = capsys.readouterr().out
    summary = json.loads((run / "summary.json").read_text())
    host, onnx = summary["devices"]
    for device, share in ((host, 0.7), (onnx, 0.5)):
        assert device["compressed"]["latency_ms"] <= share * device["original"]["latency_ms"]
        assert device["budget"]["target"] == pytest.approx(share * device["original"]["latency_ms"])
        assert device["compressed"]["accuracy"] > 0.1
    limits = json.loads((run / "episodes.jsonl").read_text().splitlines()[0])["settings"]["limits"]
    episodes = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()[1:]]
    assert all(each["latency_ms of onnx"] <= limits["latency_ms of onnx"] for each in episodes)
    shares = [each["cost"] / each["latency_ms of onnx"] for each in episodes]  # they disagree
    assert max(shares) > 1.1 * min(shares)
    assert (run / "device-2" / "model.tflite").exists()
    assert "onnx" in table
    page = (run / "report.html").read_text()
    assert "On each device" in page
    for text in (
        "Latency on host, measured",
        "Latency on onnx, measured",
        "Candidates on onnx",
        '<h3 class="device">onnx',
    ):
        assert text in page
    before = (run / "policy.json").read_bytes()
    assert amc_hw(*options(checkpoint, run, "--latency", "host=0.7x,onnx=0.5x")) == 0
    assert (run / "policy.json").read_bytes() == before


def test_the_original_is_predicted_in_fp32_on_every_device(tmp_path: Path) -> None:
    folder, int8, fp32 = RunFolder(tmp_path), ByPositions(), ByPositions()
    int8.precision = "int8"
    half = parse_budget("latency_ms", "0.5x")
    assert original_in_fp32(OtherDevice(folder, fp32, half), 2.0) == 2.0
    assert original_in_fp32(OtherDevice(folder, int8, half), 2.0) is None  # nobody has timed both
    folder.original_times.write(OriginalTimes(float_ms=6.0, shipped_ms=1.5))
    assert original_in_fp32(OtherDevice(folder, int8, half), 2.0) == 8.0


def searching(checkpoint: Path, run: Path, *more: object) -> list[object]:
    """The same without fine-tuning and proof."""
    given = options(checkpoint, run, *more)
    index = given.index("--epochs")
    return ["search", *given[1:index], *given[index + 2 :]]


def test_every_devices_file_is_written_anew_by_export(
    two: None, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert amc_hw(*searching(checkpoint, run, "--latency", "0.6x")) == 0
    assert amc_hw("finetune", "--run", run, "--epochs", 1) == 0
    cure = f"write them anew with: amc-hw export --run {run}"
    assert cure in " ".join(capsys.readouterr().err.split())
    files = [run / "model.tflite", run / "device-2" / "model.onnx"]
    assert amc_hw("export", "--run", run, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["device"], each["file"]) for each in told["devices"]] == [
        ("host", str(files[0])),
        ("onnx", str(files[1])),
    ]
    assert told["file"] == str(files[0])
    assert all(each["bytes"] == file.stat().st_size for each, file in zip(told["devices"], files, strict=True))
    files[1].write_bytes(b"kept")
    assert amc_hw("export", "--run", run, "--format", "tflite") == 0
    assert files[1].read_bytes() == b"kept"
    assert cure in " ".join(capsys.readouterr().err.split())


def test_a_further_devices_table_is_doubted_as_the_first_ones_is(
    two: None, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(ByWeights, "extra_us", 100.0)
    assert amc_hw(*searching(checkpoint, run, "--latency", "host=0.9x,onnx=0.6x")) == 0
    warnings = json.loads((run / "policy.json").read_text())["warnings"]
    (speed,) = (each for each in warnings if "predicted milliseconds are off" in each)
    assert speed.startswith("onnx: the original takes")
    (wrong,) = (each for each in warnings if "the table predicts" in each)
    assert wrong.startswith("onnx: the table predicts")


def test_a_policy_that_missed_is_forgotten_only_where_it_missed(tmp_path: Path) -> None:
    run, policy = RunFolder(tmp_path), {"g": 8}
    (tmp_path / "device-2").mkdir()
    run.policy.write(ChosenPolicy(channels=policy, original_channels={"g": 16}, image_size=[1, 8, 8]))
    earlier, last = Miss(channels={"g": 16}, found=0.9, used=1.1), Miss(channels=policy, found=0.9, used=1.1)
    run.misses.append(earlier)
    run.on_device(2).misses.append(last)
    there = SimpleNamespace(folder=run.on_device(2))
    _forget_last_misses(SimpleNamespace(run=run, others=(there,)))
    assert run.misses.read() == [earlier]
    assert run.on_device(2).misses.read() == []


def test_one_device_under_two_names_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_litert")
    given = ["host:threads=1" if each == "onnx" else each for each in options(checkpoint, tmp_path / "run")]
    assert amc_hw(*given, "--latency", "0.5x") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "'host' and 'host:threads=1' are one device under two names; name it once" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("budgets", ["host=0.7x,onnx=900ms", "host=900ms,onnx=0.7x"])
def test_a_budget_that_one_device_keeps_already_does_not_stop_the_others(
    two: None, checkpoint: Path, tmp_path: Path, budgets: str
) -> None:
    assert amc_hw(*searching(checkpoint, tmp_path / "run", "--latency", budgets)) == 0
    policy = json.loads((tmp_path / "run" / "policy.json").read_text())
    (chosen,) = (each for each in policy["candidates"] if each["channels"] == policy["channels"])
    told = chosen if budgets.startswith("host=0.7x") else chosen["elsewhere"]["onnx"]
    assert told["measured_ms"] <= 0.7 * told["original_ms"]


def test_budgets_that_the_original_keeps_on_every_device_are_refused_and_may_be_changed_then(
    two: None, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert amc_hw(*searching(checkpoint, run, "--latency", "900ms")) == 2
    assert "within the budget of 900; give a smaller one" in " ".join(capsys.readouterr().err.split())
    changed = make_config(**{**read_config(run).model_dump(), "budget": "0.8x", "others": {"onnx": "0.7x"}})
    require_same_run(run, changed)
    (run / "policy.json").write_text("{}")
    with pytest.raises(WrongRunError, match=r"with the further devices onnx=900ms, not onnx=0\.7x; choose"):
        require_same_run(run, changed.model_copy(update={"budget": "900ms"}))


def test_devices_may_be_named_in_another_order_when_a_run_goes_on(tmp_path: Path) -> None:
    run, budgets = RunFolder(tmp_path), "host=0.8x,onnx=0.7x"
    open_run(run.path, begun := make_config(device=["host", "onnx"], latency=budgets))
    assert measured_first(run, make_config(device=["onnx", "host"], latency=budgets)) == begun
    others = make_config(device=["onnx", "cuda"], latency="0.5x")
    assert measured_first(run, others) == others


def test_a_phone_that_is_not_here_is_not_first_where_another_device_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Device:
        raise NotConnectedError("no such phone is connected.")

    monkeypatch.setattr("amc_hw.pipeline.several_settings.open_device", absent)
    config = measured_first(RunFolder(tmp_path), make_config(device=["pixel1", "host"], latency="pixel1=60ms,host=2ms"))
    assert (config.device, config.budget, config.others) == ("host", "2ms", {"pixel1": "60ms"})


def test_a_budget_that_is_missed_on_one_device_tightens_that_one(
    two: None, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(ByWeights, "missed", 1.1)
    assert amc_hw(*options(checkpoint, run, "--latency", "host=0.9x,onnx=0.6x")) == 0
    host, onnx = json.loads((run / "summary.json").read_text())["devices"]
    assert onnx["compressed"]["latency_ms"] <= onnx["budget"]["target"]
    assert host["compressed"]["latency_ms"] <= host["budget"]["target"]
    assert (run / "device-2" / "misses.jsonl").exists()
    assert not (run / "misses.jsonl").exists()


def test_a_device_known_by_its_table_takes_part_and_nothing_proves_it_there(
    two: None,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Table(ByWeights):
        in_reach = False
        name = "board"

        def known_table(self):
            return table

        def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
            raise AssertionError("it is out of reach")

    run = tmp_path / "first"
    assert amc_hw(*options(checkpoint, run, "--latency", "0.6x")) == 0
    from amc_hw.latency.read_table import load_table

    table = load_table(run / "device-2" / "table.json")
    monkeypatch.setattr(
        "amc_hw.devices.turns.open_or_predict", lambda name, *_: {"host": ByPositions, "board": Table}[name]()
    )
    monkeypatch.setattr("amc_hw.pipeline.several_settings.require_device", lambda *_: None)
    arguments = ["board" if each == "onnx" else each for each in options(checkpoint, tmp_path / "run")]
    index = arguments.index("host")
    arguments[index], arguments[index + 2] = "board", "host"
    capsys.readouterr()
    assert amc_hw(*arguments, "--latency", "host=0.7x,board=0.6x") == 0
    assert read_config(tmp_path / "run").device == "host"  # what can be measured leads
    _, board = json.loads((tmp_path / "run" / "summary.json").read_text())["devices"]
    assert board["unverified"]
    assert board["compressed"]["predicted_ms"] <= board["budget"]["target"]
    assert "latency_ms" not in board["compressed"] or board["compressed"]["latency_ms"] is None
    told = " ".join("".join(capsys.readouterr()).split())
    assert "board is known by its table: its latency is predicted, and nothing proves it there" in told
    assert "Nothing proves the budget on board" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device": ["host", "host"]}, "named twice"),
        ({"device": []}, "is no device's name"),
        ({"device": ["host", "onnx"], "latency": "host=2ms"}, "says nothing of onnx"),
        ({"device": ["host", "onnx"], "latency": "host=2ms,pixel1=60ms"}, "names 'pixel1'"),
        ({"device": ["host", "onnx"], "latency": "host=2ms,host=3ms,onnx=1ms"}, "names 'host' twice"),
        ({"device": ["host", "onnx"], "macs": "0.5x"}, "no latency budget"),
        ({"device": ["host", "onnx"], "latency": "0.5x,0.6x"}, "write a budget for each: host=0.5x,onnx=0.5x"),
    ],
)
def test_budgets_that_do_not_fit_their_devices_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_config(**given)


def test_names_with_commas_and_equals_signs_have_budgets_too() -> None:
    phone, host = "android:ABC,delegate=gpu", "host:threads=2"
    config = make_config(device=[phone, host], latency=f"{host}=2ms,{phone}=0.5x")
    assert (config.device, config.budget, config.others) == (phone, "0.5x", {host: "2ms"})


def test_spaces_may_stand_between_budgets() -> None:
    spaced = make_config(device=["host", "onnx"], latency=" host=0.5x , onnx=2ms ")
    assert spaced == make_config(device=["host", "onnx"], latency="host=0.5x,onnx=2ms")


def test_one_device_is_as_it_was() -> None:
    assert make_config(device=["onnx"], latency="onnx=2ms") == make_config(device="onnx", latency="2ms")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--precision", "auto"), "give --precision fp32"),
        (("--rounds", "0.8x"), "leave --rounds out"),
        (("--table", "t.json"), "leave --table out"),
        (("--latency", "host=2ms,onnx=2"), "has no unit"),
        (("--device", "hots"), "unknown device"),
    ],
)
def test_what_does_not_go_with_several_devices_is_refused(
    more: tuple[str, ...], said: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amc_hw(*options(checkpoint, tmp_path / "run", *more)) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
