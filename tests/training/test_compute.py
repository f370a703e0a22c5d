"""Where tensors are worked on: how it is chosen, and that the same paths serve both places."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw
from strict_skips import NEEDS_GPU
from tiny import TinyNet

from amc_hw.data import dataset as module
from amc_hw.data.dataset import Data, load_data
from amc_hw.errors import UsageError
from amc_hw.pipeline.trained import TrainedModel, make_pruner, make_trained_model
from amc_hw.search.scoring import PartScorer
from amc_hw.tasks.classification import few_images
from amc_hw.training.compute import CPU, find_compute
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason=NEEDS_GPU)

RECORDED = Path(__file__).parents[1] / "runs" / "recorded" / "finished"


def pretend(monkeypatch: pytest.MonkeyPatch, build: str | None, available: bool, count: int = 1) -> None:
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "12.8", True, 2)
    assert find_compute() == torch.device("cuda")
    assert find_compute("cuda:1") == torch.device("cuda:1")
    assert find_compute("cpu") == CPU
    pretend(monkeypatch, "12.8", False)
    assert find_compute() == CPU


def test_each_process_of_torchrun_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "12.8", True, 2)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_compute() == find_compute("cuda") == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="there are 2 GPUs"):
        find_compute()


@pytest.mark.parametrize(
    ("name", "build", "available", "reason"),
    [
        ("cuda", None, False, "because torch .* is built without CUDA; install one"),
        ("cuda:1", "12.8", False, "because PyTorch sees no GPU; does nvidia-smi"),
        ("cuda:1", "12.8", True, "because there is one GPU, counted from cuda:0"),
        ("cuda:", "12.8", True, "takes cpu, cuda or cuda:1, not 'cuda:'"),
        ("cpu:1", "12.8", True, "takes cpu"),
        ("gpu", "12.8", True, "takes cpu"),
    ],
)
def test_what_is_not_here_is_explained(
    monkeypatch: pytest.MonkeyPatch, name: str, build: str | None, available: bool, reason: str
) -> None:
    pretend(monkeypatch, build, available)
    with pytest.raises(UsageError, match=reason):
        find_compute(name)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--out", "unused.pt"],
        ["search", "--run", "unused"],
        ["compress", "--run", "unused"],
        ["sparsify", "--run", "unused"],
        ["sweep", "--latency", "0.5x", "--out", "unused"],
        ["finetune", "--run", RECORDED],
    ],
    ids=lambda command: command[0],
)
def test_commands_say_it_before_they_begin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path, checkpoint, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pretend(monkeypatch, None, False)
    trained = [] if command[0] == "train" else ["--checkpoint", checkpoint]
    model = [] if command[0] == "finetune" else ["--model", TINY, *trained]
    assert amc_hw(*command, *model, "--compute", "cuda") == 2
    assert "no CUDA device here for --compute cuda, because" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_shared_pixels_are_moved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data("digits")
    moved = data.on(CPU)
    assert moved.train.images is moved.search.images is not data.train.images
    assert moved.test.images is not moved.train.images
    monkeypatch.setattr(module, "_MOST_BYTES", 500 * 32 * 32)  # the test set's 359 images fit, the others do not
    partly = data.on(CPU)
    assert partly.train is data.train
    assert partly.test is not data.test


@pytest.fixture(scope="module")
def data() -> Data:
    return few_images(load_data("digits"), 256, seed=0)


@pytest.fixture(scope="module")
def trained(data: Data) -> torch.nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = TinyNet()
    train(model, data, Recipe(epochs=2, lr=0.1, batch_size=16))
    return model


def on(place: str, model: torch.nn.Module, data: Data) -> TrainedModel:
    return make_trained_model(copy.deepcopy(model), data, compute=torch.device(place))


@pytest.mark.parametrize("place", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_every_step_runs_in_its_place(place: str, data: Data, trained: torch.nn.Module) -> None:
    """What the steps find is what they find without a place; on a GPU as nearly as its arithmetic allows."""
    exact = place == "cpu"
    trained, home = on(place, trained, data), make_trained_model(trained, data)
    augment = [
        part.batches(64, True, torch.Generator().manual_seed(1), True) for part in (trained.data.train, data.train)
    ]
    for (ours, labels), (theirs, expected) in zip(*augment, strict=True):
        assert torch.equal(labels, expected)
        assert torch.allclose(ours, theirs, atol=1e-5)
    pruner, other = make_pruner(trained, seed=0), make_pruner(home, seed=0)
    policy = {name: counts[0] for name, counts in trained.choices.items()}
    small = pruner.pruned(policy, thorough=True)
    assert {tensor.device.type for tensor in small.state_dict().values()} == {place}
    scores = [
        PartScorer(trained.data.search, trained.compute)(small),
        PartScorer(data.search)(other.pruned(policy, thorough=True)),
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0 if exact else 0.05)
    weights = pruner.channel_importance(), other.channel_importance()
    for name in weights[0]:
        assert sum(weights[0][name]) == pytest.approx(sum(weights[1][name]), rel=1e-9 if exact else 1e-2)
    history = train(small, trained.data, Recipe(epochs=1, lr=0.05), teacher=trained.model, device=trained.compute)
    assert 0 < history.losses[0] < 10
    assert next(trained.model.parameters()).device.type == "cpu"
