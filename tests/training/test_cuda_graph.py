"""Steps of training as CUDA graphs: what goes to the graph, what to the function, and that both learn the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from strict_skips import NEEDS_GPU
from tiny import TinyNet
from torch import Tensor, nn

from amc_hw.data.dataset import load_data
from amc_hw.quantize.simulated import Simulated
from amc_hw.tasks.classification import few_images
from amc_hw.training import cuda_graph
from amc_hw.training.cuda_graph import WARM_UP, Replayed
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe
from amc_hw.training.state import History

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason=NEEDS_GPU)


class Recorded:
    """Stands in for a CUDA graph: replays by calling, and writes where the captured call wrote."""

    step: Replayed
    replays = 0

    def replay(self) -> None:
        self.replays += 1
        loss = self.step.function(self.step.images, self.step.labels)
        self.step.loss.copy_(loss)
        for parameter, gradient in zip(self.step.parameters, self.step.gradients, strict=True):
            gradient.copy_(parameter.grad)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    made: list[Recorded] = []

    class Graph(Recorded):
        def __init__(self) -> None:
            made.append(self)

    @contextmanager
    def capture(graph: object) -> Iterator[None]:
        yield

    class Properties:
        total_memory = 100

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(cuda_graph, "no_waiting", lambda: capture(None))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 10)
    return made


def step_of(model: nn.Module) -> Replayed:
    def gradients(images: Tensor, labels: Tensor) -> Tensor:
        model.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        torch.autograd.backward(loss)
        return loss.detach()

    return Replayed(gradients, model.parameters())


def test_the_graph_takes_over_and_other_shapes_go_to_the_function(graphs: list[Recorded]) -> None:
    model = nn.Linear(3, 2)
    plain = copy.deepcopy(model)
    step, expected = step_of(model), step_of(plain).function
    Recorded.step = step
    generator = torch.Generator().manual_seed(0)
    for size in [4] * (WARM_UP + 2) + [2, 4, 4]:
        images, labels = torch.randn(size, 3, generator=generator), torch.randint(2, (size,), generator=generator)
        assert torch.equal(step(images, labels), expected(images, labels))
        assert model.weight.grad is not None
        assert torch.equal(model.weight.grad, plain.weight.grad)
    assert [graph.replays for graph in graphs] == [4]


def test_what_fills_the_gpu_or_cannot_be_captured_goes_to_the_function(
    graphs: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(graph: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    for name, broken in (("max_memory_reserved", lambda device: 60), ("graph", fail)):
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, name, broken)
            step = step_of(nn.Linear(3, 2))
            for _ in range(WARM_UP + 3):
                assert step(torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)) > 0
            assert step.graph is None


class Waits(TinyNet):
    """A network that asks the GPU for a number."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.abs().max().item() >= 0
        return super().forward(x)


class Moves(TinyNet):
    """A network that takes a constant from the processor to the GPU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.tensor([0.0] * 10, device=x.device)


EPOCHS = 3


class Rounded(TinyNet):
    """A network that learns as its integer file will compute, with new ranges for every epoch."""


def trained_on_gpu(network: type[nn.Module]) -> History:
    data = few_images(load_data("digits"), 250, seed=0)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = nn.Sequential(network(), nn.Dropout(0.1))
    learner = Simulated(model, data.train.first(32, seed=0)[0]) if network is Rounded else model
    recipe = Recipe(epochs=EPOCHS, lr=0.05, batch_size=16)
    return train(learner, data, recipe, teacher=copy.deepcopy(model), device="cuda")


@needs_gpu
def test_a_gpu_learns_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    captured: list[Replayed] = []
    capture = Replayed._capture

    def told(step: Replayed, images: Tensor, labels: Tensor) -> None:
        capture(step, images, labels)
        captured.append(step)

    monkeypatch.setattr(Replayed, "_capture", told)
    graph, waits, moves, rounded = (trained_on_gpu(network) for network in (TinyNet, Waits, Moves, Rounded))
    assert all(each.graph is not None for each in captured[:EPOCHS])  # one for each epoch
    assert all(each.graph is None for each in captured[EPOCHS : 2 * EPOCHS])
    monkeypatch.setattr(Replayed, "_capture", lambda *_: None)
    plain, rounded_plainly = trained_on_gpu(TinyNet), trained_on_gpu(Rounded)
    for history, other in ((graph, plain), (waits, plain), (moves, plain), (rounded, rounded_plainly)):
        assert history.losses == pytest.approx(other.losses, rel=0.05)
        assert history.accuracies[-1] == pytest.approx(other.accuracies[-1], abs=0.1)
