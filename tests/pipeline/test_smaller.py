"""A smaller network of the user's is what pruning has to beat: said before the search, and judged at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw
from simulated_device import SimulatedDevice
from tiny import TinyNet
from torch import nn

import amc_hw as library
from amc_hw.errors import UsageError
from amc_hw.pipeline.smaller_files import better_one
from amc_hw.policy import Precision
from amc_hw.report.compare import compare_report
from amc_hw.report.html import write_report
from amc_hw.runs.begun import read_config
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.summaries import BudgetFigures, Figures, Summary

AGAIN = TINY.replace(":tiny", ":again")
QUICK = ("--latency", "0.5x", "--strategy", "uniform", "--episodes", 1, "--epochs", 0)


class Simulated(SimulatedDevice):
    """Files of smaller networks take a share of what the formula says; each file's measurements are counted."""

    name = "host"
    share = 0.4

    def __init__(self) -> None:
        super().__init__()
        self.timed: list[str] = []

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        self.timed.append(file.stem)
        share = self.share if file.stem.startswith("smaller") else 1.0
        return [share * time for time in super().time_model(file, warmup=warmup, runs=runs)]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Simulated:
    simulated = Simulated()

    def opened(name: str, table: object, precision: Precision) -> Simulated:
        simulated.precision = precision
        return simulated

    monkeypatch.setattr("amc_hw.devices.turns.open_or_predict", opened)
    return simulated


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "epoch=0.pt"
    torch.save(TinyNet().state_dict(), path)
    return path


def task(checkpoint: Path, run: Path, *more: object) -> tuple[object, ...]:
    return ("--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", run, *more)


def in_fp32(checkpoint: Path, run: Path, *more: object) -> tuple[object, ...]:
    return task(checkpoint, run, "--precision", "fp32", *QUICK, *more)


def summary_of(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    told = capsys.readouterr()
    return " ".join(told.out.split()), " ".join(told.err.split())


def test_a_smaller_one_that_is_better_is_to_be_taken(
    device: Simulated, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert amc_hw("compress", *in_fp32(checkpoint, run, "--smaller", f"{AGAIN}={checkpoint}")) == 0
    shown, told = said(capsys)
    summary = summary_of(run)
    original, taken = summary["original"], summary["smaller"][AGAIN]
    assert summary["take"] == AGAIN
    assert {name: taken[name] for name in ("accuracy", "macs", "params", "size_bytes")} == {
        name: original[name] for name in ("accuracy", "macs", "params", "size_bytes")
    }
    assert taken["latency_ms"] == pytest.approx(0.4 * original["latency_ms"])
    before = f"{AGAIN} in fp32 holds the budget with "
    assert told.index(before) < told.index("searching")
    assert f"take {AGAIN}: as it is (smaller-1.tflite), it has {100 * taken['accuracy']:.2f} % of the test set" in shown
    assert "smaller-1" in device.timed
    page = (run / "report.html").read_text()
    assert f"Take {AGAIN} instead" in page
    assert "A smaller network is better" in page
    assert "Budget held" not in page
    assert "Beside smaller networks" in page
    assert "Smaller network" in compare_report([run], tmp_path / "compare.html").read_text()


def test_the_same_command_goes_on_and_looks_again_at_other_weights(
    device: Simulated, checkpoint: Path, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, weights = tmp_path / "run", tmp_path / "w.pt"
    weights.write_bytes(checkpoint.read_bytes())
    command = in_fp32(checkpoint, run, "--smaller", f"{AGAIN}={weights}")
    assert amc_hw("search", *(part for part in command if part not in ("--epochs", 0))) == 0
    assert "holds the budget with" in said(capsys)[1]
    first = (run / "smaller.json").read_bytes()
    policy = (run / "policy.json").read_bytes()
    assert amc_hw("compress", *command) == 0
    assert "holds the budget with" not in said(capsys)[1]
    assert (run / "smaller.json").read_bytes() == first
    weights.write_bytes(untrained.read_bytes())
    assert amc_hw("compress", *command) == 0
    assert (run / "smaller.json").read_bytes() != first
    assert summary_of(run)["take"] is None
    assert amc_hw("compress", *in_fp32(checkpoint, run)) == 0
    assert "smaller" not in summary_of(run)
    assert "smaller" not in json.loads((run / "config.json").read_text())
    assert (run / "policy.json").read_bytes() == policy


def test_where_pruning_is_better_it_is_said_by_how_much(
    device: Simulated, checkpoint: Path, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert amc_hw("compress", *in_fp32(checkpoint, run, "--smaller", f"{AGAIN}={untrained}")) == 0
    summary = summary_of(run)
    ahead = summary["compressed"]["accuracy"] - summary["smaller"][AGAIN]["accuracy"]
    assert ahead > 0.2
    assert f"the compressed network beats {AGAIN} by {100 * ahead:.2f} points" in said(capsys)[0]
    assert "Budget held" in (run / "report.html").read_text()


def test_one_that_is_over_the_budget_is_called_so(
    device: Simulated, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device.share, run = 0.8, tmp_path / "run"
    assert amc_hw("compress", *in_fp32(checkpoint, run, "--smaller", f"{AGAIN}={checkpoint}")) == 0
    shown, told = said(capsys)
    assert f"{AGAIN} in fp32 misses the budget (it uses 1.60x of it) with" in told
    assert f"{AGAIN} is over the budget" in shown
    assert summary_of(run)["take"] is None


def test_it_is_written_timed_and_scored_in_the_precision_that_ships(
    device: Simulated, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = ("--precision", "int8", "--size", "0.5x", "--smaller", f"{AGAIN}={checkpoint}")
    assert amc_hw("search", *task(checkpoint, run, *options)) == 0
    assert (run / "smaller-1.tflite").read_bytes() == (run / "original-int8.tflite").read_bytes()
    (each,) = (known := json.loads((run / "smaller.json").read_text()))["networks"]
    assert known["precision"] == "int8"
    assert each["score"] == known["original_score"] > 0.8
    assert each["used"] == pytest.approx(each["size_bytes"] / (run / "original.tflite").stat().st_size / 0.5)
    assert set(device.timed) >= {"original", "original-int8", "smaller-1"}
    shown, told = said(capsys)
    assert f"{AGAIN} in int8 holds the budget" in told
    assert "nothing is pruned, measured " in shown
    assert "Before the search" in write_report(run).read_text()


def test_networks_from_python(device: Simulated, checkpoint: Path, tmp_path: Path) -> None:
    model = TinyNet()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))
    quick = {"latency": "0.5x", "strategy": "uniform", "episodes": 1, "epochs": 0, "precision": "fp32"}
    found = library.compress(
        *(model, torch.zeros(1, 1, 32, 32)),
        data="digits",
        run=tmp_path / "run",
        smaller={"flat": narrow, "same": model},
        **quick,
    ).summary
    assert list(found["smaller"]) == ["flat", "same"]
    assert found["take"] == "same"
    assert found["smaller"]["flat"]["params"] == 10_250
    assert found["smaller"]["flat"]["macs"] == 10_240
    assert read_config(tmp_path / "run").smaller == {"flat": "", "same": ""}
    assert narrow.training


def test_a_task_of_ones_own(device: Simulated, checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "import torch\n"
        "from tiny import TinyNet\n"
        "from amc_hw import OwnTask\n"
        "def large():\n    return TinyNet()\n"
        "def light():\n    return TinyNet()\n"
        "def score(model):\n    return float(model(torch.ones(4, 1, 32, 32)).softmax(1).max(1).values.mean())\n"
        "def train(model, teacher, epoch, epochs):\n"
        "    (model(torch.ones(4, 1, 32, 32)) - teacher(torch.ones(4, 1, 32, 32))).square().mean().backward()\n"
        "task = OwnTask(score, train, score, metric='confidence', inputs=torch.rand(64, 1, 32, 32))\n"
    )
    named = ("--model", f"{file}:large", "--checkpoint", checkpoint, "--task", f"{file}:task")
    run, smaller = tmp_path / "run", ("--smaller", f"{file}:light={checkpoint}")
    assert amc_hw("compress", *named, "--run", run, "--precision", "fp32", *QUICK, *smaller) == 0
    summary = summary_of(run)
    assert summary["smaller"][f"{file}:light"]["accuracy"] == pytest.approx(summary["original"]["accuracy"], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--smaller flat:CHECKPOINT", "is no NAME=CHECKPOINT; write for example resnet20=resnet20.pt"),
        ("--smaller resnet20=CHECKPOINT --smaller resnet20=CHECKPOINT", "'resnet20' is named twice"),
        ("--smaller resnet21=CHECKPOINT", "unknown model 'resnet21' for --smaller; did you mean 'resnet20'"),
        (f"--smaller {TINY}=CHECKPOINT", "is the network that is compressed; name a smaller one with --smaller"),
        ("--smaller resnet20=CHECKPOINT", "does not fit this model"),
        ("--smaller OTHER:classes=CLASSES", "gives (1, 9) where"),
        ("--smaller OTHER:size=SIZE", "does not take the inputs of"),
        ("--smaller resnet20=CHECKPOINT --device host --device onnx", "on one device only; leave --smaller out"),
        (
            "--smaller resnet20=CHECKPOINT --device pixel1",
            "'pixel1' is not in reach; connect it, or leave",
        ),
    ],
)
def test_what_cannot_be_held_against_the_network_is_refused_before_any_work(
    options: str, says: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.py"
    other.write_text(
        "from torch import nn\n"
        "def classes():\n    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 9))\n"
        "def size():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    for name, network in (("CLASSES", nn.Linear(1024, 9)), ("SIZE", nn.Linear(784, 10))):
        torch.save(nn.Sequential(nn.Flatten(), network).state_dict(), tmp_path / name)
    words = {"CHECKPOINT": checkpoint, "OTHER": other, "CLASSES": tmp_path / "CLASSES", "SIZE": tmp_path / "SIZE"}
    for word, path in words.items():
        options = options.replace(word, str(path))
    assert amc_hw("compress", *task(checkpoint, tmp_path / "run", "--precision", "fp32", *options.split())) == 2
    assert says in said(capsys)[1]
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_network_of_another_kind_is_refused_in_python(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="smaller= takes trained networks by names"):
        library.compress(TinyNet(), torch.zeros(1, 1, 32, 32), data="digits", run=tmp_path / "r", smaller={"a": "r.pt"})


def test_names_are_split_where_a_checkpoint_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_config(smaller=["resnet20=epoch=3.ckpt", "a=b/net.py:make=w.pt"])
    assert config.smaller == {"resnet20": str(tmp_path / "epoch=3.ckpt"), "a=b/net.py:make": str(tmp_path / "w.pt")}


@pytest.mark.parametrize(
    ("smaller", "compressed", "is_better"),
    [
        ((0.9, 0.5), (0.9, 0.5), True),
        ((0.9, 0.4), (0.8, 0.5), True),
        ((0.89, 0.4), (0.9, 0.5), False),
        ((0.9, 0.55), (0.9, 0.5), False),  # slower, and no better for it
        ((0.91, 0.55), (0.9, 0.5), True),  # within the budget, more is better
        ((0.91, 0.65), (0.9, 0.5), False),  # over the budget
        ((0.91, 0.65), (0.9, 0.7), True),  # both are over it
    ],
)
def test_better_is_what_keeps_the_budget_and_is_as_accurate(
    smaller: tuple[float, float], compressed: tuple[float, float], is_better: bool
) -> None:
    def figures(accuracy: float, latency_ms: float) -> Figures:
        return Figures(accuracy=accuracy, latency_ms=latency_ms)

    summary = Summary(
        budget=BudgetFigures(metric="latency_ms", target=0.6),
        compressed=figures(*compressed),
        smaller={"worse": figures(0.1, 0.1), "this": figures(*smaller)},
    )
    assert better_one(summary) == ("this" if is_better else None)


def test_a_run_of_before_has_none(device: Simulated, checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert amc_hw("compress", *in_fp32(checkpoint, run)) == 0
    assert not RunFolder(run).smaller.exists()
    assert not {"smaller", "take"} & summary_of(run).keys()
    assert "Beside smaller networks" not in (run / "report.html").read_text()
