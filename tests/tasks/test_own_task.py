"""A network that does not classify, with a metric, a training and a test of its own, through the whole pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import amc_hw as command
from segments import TinyUNet, discs, learn, mean_iou, task, trained
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import amc_hw
from amc_hw import OwnTask
from amc_hw.errors import DivergedError, UsageError, WrongRunError
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.runs.folder import RunFolder
from amc_hw.tasks.by_task import with_inputs
from amc_hw.tasks.inputs import gathered
from amc_hw.training.epochs import Epochs, train_by_epochs

pytestmark = pytest.mark.usefixtures("simulated")

FEW = {"device": "host", "episodes": 3, "macs": "0.5x"}


@pytest.fixture(scope="module")
def model() -> TinyUNet:
    return trained()


@pytest.fixture(scope="module")
def run(model: TinyUNet, tmp_path_factory: pytest.TempPathFactory, simulated: None) -> Path:
    pytest.importorskip("litert_torch")
    run = tmp_path_factory.mktemp("own") / "run"
    own = task()
    result = amc_hw.compress(model, own.inputs, task=own, run=run, epochs=2, precision="fp32", **FEW)
    images, masks = discs(96, 2)
    kept = RunFolder(run).finetune.read()
    assert result.summary["metric"] == "mean IoU"
    assert result.summary["compressed"]["macs"] <= 0.5 * result.summary["original"]["macs"]
    assert mean_iou(result.model, images, masks) == pytest.approx(result.summary["compressed"]["accuracy"], abs=1e-3)
    assert mean_iou(model, images, masks) == pytest.approx(result.summary["original"]["accuracy"], abs=1e-3)
    assert len(kept.epochs) == 2
    assert None not in [epoch.train_loss for epoch in kept.epochs]
    return run


def test_every_figure_is_called_what_it_is(run: Path) -> None:
    page = RunFolder(run).report.read_text()
    assert "Mean IoU before fine-tuning" in page
    assert "mean IoU on the validation inputs, %" in page
    assert "op-1" not in page
    assert RunFolder(run).policy.read().metric == "mean IoU"


def test_a_finished_run_is_not_repeated_and_is_loaded_again(run: Path, model: TinyUNet) -> None:
    calls: list[int] = []
    own = task()
    counted = OwnTask(own.score, lambda *given: calls.append(1), own.test, own.metric)
    result = amc_hw.compress(model, own.inputs, task=counted, run=run, epochs=2, precision="fp32", **FEW)
    assert calls == [1]  # its first step is tried, as always before the work
    images, _ = discs(4, 3)
    again = amc_hw.load(run, model=TinyUNet())
    assert torch.equal(again(images)["masks"], result.model(images)["masks"])


def test_training_by_epochs_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    images, masks = discs(32, 0)

    def train(model: nn.Module, state: Path, stop: int | None) -> nn.Module:
        def epoch(number: int) -> float:
            if number == stop:
                raise KeyboardInterrupt
            return learn(model, images, masks, 1e-2)

        told = Epochs(epoch, lambda: mean_iou(model, images, masks), "mean IoU", 4, 0)
        train_by_epochs(model, told, state_path=state)
        return model

    torch.manual_seed(1)
    start = TinyUNet().state_dict()
    undisturbed, stopped = TinyUNet(), TinyUNet()
    undisturbed.load_state_dict(start)
    stopped.load_state_dict(start)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, tmp_path / "state", 2)
    stopped.load_state_dict(start)
    stopped, undisturbed = train(stopped, tmp_path / "state", None), train(undisturbed, tmp_path / "other", None)
    for mine, other in zip(stopped.state_dict().values(), undisturbed.state_dict().values(), strict=True):
        assert torch.equal(mine, other)


def test_weights_that_score_worse_are_not_kept() -> None:
    model = TinyUNet()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    images, masks = discs(16, 0)
    scores = iter([0.9, 0.5, 0.7])
    history = train_by_epochs(
        model, Epochs(lambda epoch: learn(model, images, masks, 1e-2), lambda: next(scores), "mean IoU", 2, 0)
    )
    assert (history.kept_epoch, history.kept_accuracy) == (0, 0.9)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def own(**changed: Any) -> OwnTask:
    known = task()
    given = {"score": known.score, "train": known.train, "test": known.test, "metric": "mean IoU"} | changed
    return OwnTask(**given)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"score": lambda model: 42.0}, "the task's score gives 42; return a number from 0 to 1"),
        ({"score": lambda model: None}, "the task's score gives a NoneType"),
        ({"score": lambda model: -0.1}, "the task's score gives -0.1 for the original; return a number from 0 to 1"),
        ({"test": lambda model: float("nan")}, "the task's test gives nan for the original"),
        ({"score": lambda model: 1 / 0}, "the task's score fails: ZeroDivisionError.*test_own_task.py, line"),
        ({"score": lambda: 0.5}, "the task's score is called with .model., which it does not take"),
        ({"train": lambda *_: 1 / 0}, "the task's train fails: ZeroDivisionError.*test_own_task.py, line"),
        ({"train": lambda model: None}, "the task's train is called with .model, teacher, epoch, epochs."),
        ({"test": 3}, r"the task has no test that can be called \(it is a int\); write a class with"),
        ({"test": lambda model: 1 / 0}, "the task's test fails: ZeroDivisionError.*test_own_task.py, line"),
        ({"metric": 3}, "the task needs a metric"),
    ],
)
def test_a_wrong_task_is_told_before_the_work(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    images, _ = discs(32, 0)
    with pytest.raises(UsageError, match=says):
        amc_hw.compress(TinyUNet(), images, task=own(**changed), run=tmp_path / "run", precision="fp32", **FEW)
    assert not (tmp_path / "run" / "episodes.jsonl").exists()


def test_less_than_nothing_is_nothing_for_a_network_that_has_lost_too_much(model: TinyUNet, tmp_path: Path) -> None:
    known, whole = task(), sum(weight.numel() for weight in model.parameters())

    def score(network: nn.Module) -> float:  # as the coefficient of determination is: of any bad network below 0
        lost = sum(weight.numel() for weight in network.parameters()) < whole
        return float("nan") if lost else 0.9

    def spoil(network: nn.Module, teacher: nn.Module, epoch: int, epochs: int) -> None:
        learn(network, *discs(16, 0), 1e-2)
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))

    given = {"task": own(score=score, train=spoil), "run": tmp_path / "run", "precision": "fp32", **FEW}
    with pytest.raises(DivergedError, match="choose a lower learning rate"):  # the short fine-tunes went on
        amc_hw.compress(model, known.inputs, epochs=1, **given)
    assert {episode.accuracy for episode in RunFolder(tmp_path / "run").episodes.read().episodes} == {0.0}


def test_a_run_is_not_gone_on_with_by_another_metric(model: TinyUNet, run: Path) -> None:
    with pytest.raises(WrongRunError, match="a run with scores of 'mean IoU', not 'Dice'"):
        amc_hw.compress(model, task().inputs, task=own(metric="Dice"), run=run, epochs=2, precision="fp32", **FEW)


def test_wrong_inputs_are_told(tmp_path: Path) -> None:
    images, masks = discs(32, 0)
    for inputs, says in (
        (images[:1], "there are 1 inputs; give some hundreds"),
        (3, "the inputs are a int"),
        (images * float("nan"), "some inputs are not finite"),
        ({"images": images, "masks": masks[:3]}, "with the batch first, all of one size"),
        ([images[:20], images[20:, :, :8]], "inputs of two batches have the sizes .* and .*; give inputs of one size"),
        (None, "the task has no inputs"),
        (images[:, :, :3, :3], "the network does not run on the task's inputs"),
    ):
        with pytest.raises(UsageError, match=says):
            amc_hw.compress(TinyUNet(), inputs, task=own(), run=tmp_path / "run", **FEW)
    with pytest.raises(UsageError, match="give either data="):
        amc_hw.compress(TinyUNet(), images, task=own(), data="digits", run=tmp_path / "run")
    with pytest.raises(UsageError, match="leave evaluate= out"):
        amc_hw.compress(TinyUNet(), images, task=own(), evaluate=lambda _: 0.5, run=tmp_path / "run")


def test_a_loader_that_shuffles_gives_a_run_that_goes_on_the_same_inputs() -> None:
    (images, _), network = discs(64, 0), TinyUNet()
    loader = DataLoader(TensorDataset(images), batch_size=8, shuffle=True)
    torch.manual_seed(5)
    number = torch.rand(1)
    torch.manual_seed(5)
    first = gathered(loader, network, 32)
    assert torch.equal(number, torch.rand(1))  # the user's random numbers go on
    assert torch.equal(first, gathered(loader, network, 32))


def test_inputs_beside_a_task_that_has_some_are_left_out_which_is_said(caplog: pytest.LogCaptureFixture) -> None:
    own, (images, _) = task(), discs(32, 0)
    assert with_inputs(own, images) is own
    assert "the task has inputs of its own" in caplog.text


def test_a_table_is_made_for_the_inputs_of_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("litert_torch")
    file = Path(__file__).parent.parent / "support" / "segments.py"
    named = ("--model", f"{file}:network", "--task", f"{file}:task", "--table", tmp_path / "table.json")
    assert command("profile", *named) == 0
    assert (tmp_path / "table.json").exists()
    for name in ("profile", "compress"):
        assert command(name, *named[:4], "--image-size", 32) == 2
        assert "a task brings its own inputs; leave --image-size out" in capsys.readouterr().err


def test_the_command_line_has_the_same(
    model: TinyUNet, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(__file__).parent.parent / "support" / "segments.py"
    save_checkpoint(model, tmp_path / "weights.pt")
    named = ("--model", f"{file}:network", "--checkpoint", tmp_path / "weights.pt", "--task", f"{file}:task")
    few = ("--macs", "0.5x", "--episodes", 3, "--epochs", 2, "--precision", "fp32")
    assert command("compress", *named, *few, "--run", tmp_path / "run") == 0
    assert "Mean IoU" in capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    in_python = json.loads((run / "summary.json").read_text())
    assert summary["compressed"]["accuracy"] == pytest.approx(in_python["compressed"]["accuracy"])
    assert command("evaluate", tmp_path / "run" / "model.tflite") == 2
    assert f"amc-hw evaluate --run {tmp_path / 'run'}" in capsys.readouterr().err
    assert command("evaluate", "--run", tmp_path / "run") == 0
    assert f"{summary['compressed']['accuracy']:.2%} mean IoU" in capsys.readouterr().out
    assert command("finetune", "--run", tmp_path / "run", "--epochs", 2) == 0


def test_wrong_names_are_refused_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parent.parent / "support" / "segments.py"
    for words, says in (
        (("--task", f"{file}:tusk"), "did you mean"),
        (("--task", "clasify"), "did you mean 'classify'"),
        (("--task", tmp_path / "gone.py:task"), "there is no file"),
        (("--task", f"{file}:discs"), "needs count, seed"),
        (("--task", f"{file}:task", "--data", "cifar10"), "leave --data out"),
        (("--task", f"{file}:task", "--model", "resnet20"), "the model is path/to/file.py:function"),
    ):
        named = ("--model", f"{file}:network", "--checkpoint", tmp_path / "weights.pt")
        save_checkpoint(TinyUNet(), tmp_path / "weights.pt")
        assert command("compress", *named, *words, "--run", tmp_path / "run") == 2
        assert says in " ".join(capsys.readouterr().err.split())
