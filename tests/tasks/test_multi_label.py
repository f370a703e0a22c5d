"""Images with several labels: by a data set, and by loaders of one's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import convolution
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import amc_hw
from amc_hw import MultiLabel
from amc_hw.data.dataset import Data, load_data
from amc_hw.data.labels import quality
from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.pipeline.evaluate import evaluate_on_test
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.multi_label import classification
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe, multi_label_distillation_loss


class Quarters(nn.Module):
    """Scores of four labels: is each quarter of the image bright?"""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(1, 16, stride=2), convolution(16, 32, stride=2))
        self.head = nn.Linear(32 * 16, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).flatten(1))


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random((count, 4)) < 0.4).astype(np.uint8)
    bright = labels.reshape(count, 2, 2).repeat(8, 1).repeat(8, 2)
    return (random.integers(0, 120, (count, 16, 16)) + 70 * bright).astype(np.uint8)[..., None], labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("quarters")
    for part, (images, labels) in {"train": drawn(400, 0), "test": drawn(200, 1)}.items():
        np.savez(folder / f"{part}.npz", images=images, labels=labels)
    return load_data(f"npz:{folder}")


@pytest.fixture(scope="module")
def model(data: Data) -> nn.Module:
    torch.manual_seed(0)
    network = Quarters()
    train(network, data, Recipe(epochs=3, lr=0.02, batch_size=32))
    return network


def test_labels_are_the_columns_and_every_split_has_them(data: Data) -> None:
    assert (data.num_classes, data.train.labels.shape, data.search.labels.shape) == (4, (360, 4), (40, 4))
    assert data.train.labels.dtype == torch.float32
    assert all(bool(part.labels.any(0).all()) for part in (data.train, data.search, data.test))


def test_the_mean_is_over_the_labels_that_occur() -> None:
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0.0]])
    scores = torch.tensor([[0.9, 5.0, 1.0], [0.8, 4.0, 1.0], [0.7, 3.0, 1.0], [0.6, 2.0, 1.0]])
    first, second = (1 / 1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2
    assert quality(scores, labels) == pytest.approx((first + second) / 2)


def test_what_is_distilled_is_the_divergence_of_every_label() -> None:
    ours, theirs = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0)).unbind()
    assert float(multi_label_distillation_loss(theirs, theirs)) == pytest.approx(0, abs=1e-6)
    wanted, given = (torch.distributions.Bernoulli(logits=each / 4) for each in (theirs, ours))
    expected = 16 * torch.distributions.kl_divergence(wanted, given).sum(1).mean()
    assert float(multi_label_distillation_loss(ours, theirs)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_network_is_compressed_by_its_mean_average_precision(
    data: Data, model: nn.Module, precision: str, tmp_path: Path
) -> None:
    pytest.importorskip("litert_torch")
    result = amc_hw.compress(
        copy.deepcopy(model),
        torch.zeros(1, 1, 16, 16),
        data=data.name,
        device="host",
        macs="0.6x",
        strategy="uniform",
        episodes=2,
        epochs=1,
        precision=precision,
        importance="taylor",
        table=tmp_path / "table.json",
        run=tmp_path / "run",
    )
    assert result.summary["metric"] == "mean average precision"
    assert result.summary["original"]["accuracy"] > 0.95
    assert result.summary["compressed"]["accuracy"] > 0.9
    page = (result.run / "report.html").read_text()
    assert "Mean average precision" in page
    assert "op-1" not in page
    file = result.run / "model.tflite"
    found = evaluate_on_test(file, None, data.name, None, SILENT)
    assert found == (str(file), "mean average precision", pytest.approx(result.summary["compressed"]["accuracy"]))


@pytest.mark.usefixtures("simulated")
def test_loaders_of_inputs_and_labels_are_a_task(model: nn.Module, data: Data, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    loaders = [
        DataLoader(TensorDataset(*part.first(400, 0)), 32, shuffle=part is data.train)
        for part in (data.train, data.search, data.test)
    ]
    task = MultiLabel(*loaders)
    result = amc_hw.compress(
        copy.deepcopy(model),
        None,
        task=task,
        device="host",
        macs="0.6x",
        strategy="uniform",
        episodes=1,
        epochs=2,
        precision="fp32",
        table=tmp_path / "table.json",
        run=tmp_path / "run",
    )
    assert result.summary["metric"] == "mean average precision"
    assert result.summary["compressed"]["accuracy"] == pytest.approx(task.test(result.model), abs=1e-3)
    assert result.summary["compressed"]["accuracy"] > 0.9


def test_probabilities_are_refused(model: nn.Module, data: Data) -> None:
    with pytest.raises(UnsupportedModelError, match="without its last sigmoid"):
        classification(data).require_fit(nn.Sequential(model, nn.Sigmoid()))
    small = copy.deepcopy(model)
    *_, last = (layer for layer in small.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():  # as of a network that has learned nothing
        last.weight.mul_(1e-4)
        last.bias.fill_(0.1)
    classification(data).require_fit(small)
    loader: Any = DataLoader(TensorDataset(*data.train.first(64, 0)), 32)
    behind = nn.Sequential(model, nn.Sigmoid())
    with pytest.raises(UsageError, match="without its last sigmoid"):
        MultiLabel(loader, loader, loader).train(copy.deepcopy(behind), behind, 0, 1)


def test_what_are_no_labels_is_refused() -> None:
    images = torch.zeros(8, 1, 16, 16)
    good = DataLoader(TensorDataset(images, torch.ones(8, 3)))
    for labels in (torch.arange(8), 2 * torch.ones(8, 3)):
        with pytest.raises(UsageError, match="a batch of validation= is"):
            MultiLabel(good, DataLoader(TensorDataset(images, labels)), good)
    with pytest.raises(UsageError, match="test= takes a torch"):
        MultiLabel(good, good, [images])
