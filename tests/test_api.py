"""The Python interface: a network and a metric of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyNet
from torch import nn

import amc_hw
from amc_hw.data.dataset import load_data
from amc_hw.errors import UsageError
from amc_hw.training.evaluation import evaluate
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe


def test_compresses_a_network_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    torch.manual_seed(0)
    model, data = TinyNet(), load_data("digits")
    train(model, data, Recipe(epochs=4, lr=0.05, batch_size=32))
    scored: list[int] = []

    def metric(candidate: nn.Module) -> float:
        scored.append(sum(p.numel() for p in candidate.parameters()))
        return evaluate(candidate, data.search)

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images, _ = data.search.first(4, seed=0)
    result = amc_hw.compress(
        model,
        images[:1],
        data=data,
        macs="0.5x",
        evaluate=metric,
        run=tmp_path / "run",
        episodes=6,
        epochs=1,
        rounds=["0.8x"],
        table=tmp_path / "table.json",
        exclude=["conv3"],
    )
    assert list(result.summary["compressed"]["channels"]) == ["conv1.0", "conv2.0"]
    unprunable = json.loads((result.run / "policy.json").read_text())["unprunable"]
    assert unprunable["conv3.0"] == "excluded by conv3"
    assert result.summary["compressed"]["macs"] <= 0.5 * result.summary["original"]["macs"]
    assert len(set(scored)) > 1
    assert (tmp_path / "table.json").exists()
    assert (result.run / "round-1" / "policy.json").exists()
    assert result.model(images).shape == (4, 10)
    assert (result.run / "model.tflite").exists()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_wrong_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="example input"):
        amc_hw.compress(TinyNet(), torch.zeros(1, 3, 32, 32), data="digits", run=tmp_path / "run")


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="compres"):
        amc_hw.compres  # noqa: B018


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"importance": "typo"}, "unknown importance 'typo'"),
        ({"macs": "0.5x", "size": "2ms"}, "0.5x or 500kB"),
        ({"macs": "0.5"}, "did you mean '0.5x'"),
        ({"rounds": ["0.3x"]}, "not smaller than the one before"),
        ({"latencie": "0.5x"}, "did you mean 'latency'"),
        ({"checkpoint": "weights.pt"}, "unknown setting 'checkpoint'"),
        ({"granularity": "weights"}, "unknown setting 'granularity'"),
        ({"exclude": "conv3"}, "one text where a list of texts is needed"),
        ({"accuracy_floor": 0.9}, "reward=accuracy_guaranteed"),
        ({"agent": "gone"}, "add strategy=ddpg-multi"),
        ({"device": "hots"}, "did you mean 'host'"),
        ({"compute": "gpu"}, "compute= takes cpu, cuda or cuda:1"),
        ({"epochs": -1}, "epochs: it takes a whole number from 0 on"),
        ({"lower": float("nan")}, "a number over 0 and up to 1 .*, not nan"),
        ({"io": "int4"}, "it takes float32 or int8"),
        ({"rounds": [0.8]}, "it takes a list of texts .*, not \\[0.8\\]"),
        ({"latency": 0.5}, "write for example latency='0.5x', .* or latency='12ms'"),
        ({"macs": "3"}, "did you mean '3k' or '3M'"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(
    settings: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amc_hw.api.opened_job", None)  # nothing is opened
    with pytest.raises(UsageError, match=says):
        amc_hw.compress(TinyNet(), torch.zeros(1, 1, 32, 32), data="digits", run=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"data": 5}, "a data set's name, such as data='digits'.* not 5"),
        ({"example_input": None}, r"a batch of images \(N, C, H, W\).* not None"),
        ({"example_input": torch.zeros(8)}, r"not a tensor of shape \(8,\)"),
        ({"run": 5}, "run= takes a folder's path"),
        ({"progress": 3}, r"progress= takes a function, called with \(done, total, text\), not 3"),
        ({"evaluate": 3}, r"evaluate= takes a function, called with \(model\), not 3"),
        ({"model": "resnet20"}, "amc-hw compress --model resnet20"),
        ({"data": None, "task": 3}, "the task has no score"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused_before_any_work(
    arguments: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amc_hw.api.opened_job", None)  # nothing is opened
    whole = {"model": TinyNet(), "example_input": torch.zeros(1, 1, 32, 32), "data": "digits", "run": tmp_path / "run"}
    with pytest.raises(UsageError, match=says):
        amc_hw.compress(**(whole | arguments))
    assert not (tmp_path / "run").exists()


def test_settings_that_python_gives_as_arguments_are_not_listed_as_known() -> None:
    with pytest.raises(UsageError, match="known: ") as refused:
        amc_hw.compress(TinyNet(), torch.zeros(1, 1, 32, 32), data="digits", checkpoint="weights.pt")
    assert not {"model", "checkpoint", "task"} & set(str(refused.value).rstrip(".").partition("known: ")[2].split(", "))
