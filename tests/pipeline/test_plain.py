"""A run of a network that computes its weights is one of plain weights, also in the next process."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import weight_norm

from amc_hw.data.dataset import load_data
from amc_hw.errors import WrongRunError
from amc_hw.models.checkpoint import load_checkpoint, save_checkpoint
from amc_hw.pipeline.begin import begin, open_trained
from amc_hw.pipeline.load import load
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.runs.begun import open_run
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.runs.records import ChosenPolicy

CONFIG = make_config(model="Standard", data="digits", episodes=5)


class Standardised(nn.Conv2d):
    """Its tensors have the names of a plain convolution's."""

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), self.bias, self.stride, self.padding)


class Standard(nn.Sequential):
    def __init__(self) -> None:
        layers = [Standardised(1, 8, 3, 2, 1), nn.ReLU(), Standardised(8, 12, 3, 2, 1), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10))


class Normed(nn.Sequential):
    def __init__(self) -> None:
        layers = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), weight_norm(nn.Conv2d(8, 12, 3, 2, 1)), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10))


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.attention = nn.Conv2d(1, 16, 8, 8), nn.MultiheadAttention(16, 4, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head((x + self.attention(x, x, x)[0]).mean(1))  # type: ignore[no-any-return]


def finished(folder: Path, name: str) -> tuple[RunFolder, nn.Module]:
    """Begin a run of a network of this file by its name, and end it with its half."""
    weights, run = folder / "weights.pt", RunFolder(folder / "run")
    save_checkpoint(globals()[name](), weights)
    config = make_config(model=f"{__file__}:{name}", data="digits", checkpoint=weights)
    _, trained = begin(run, config, SILENT)
    assert any("computes the same as before" in note for note in trained.notes)
    policy = {group: channels // 2 for group, channels in trained.network.original.items()}
    small = shrink(trained.model, trained.network, first_channels(policy))
    run.policy.write(ChosenPolicy(channels=policy, image_size=[1, 32, 32]))
    save_checkpoint(small, run.pruned)
    return run, small


@pytest.mark.parametrize("name", ["Standard", "Normed", "Attending"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_the_run_folder_gives_the_same_network_back(name: str, tmp_path: Path) -> None:
    run, small = finished(tmp_path, name)
    images = load_data("digits").train.first(4, 0)[0]
    original = globals()[name]()
    load_checkpoint(original, tmp_path / "weights.pt")
    opened = open_trained(run.path)[1].model
    torch.testing.assert_close(opened(images), original.eval()(images), rtol=1e-4, atol=1e-5)
    for again in (load(run.path), load(run.path, model=globals()[name]())):
        torch.testing.assert_close(again(images), small.eval()(images))


def test_the_same_network_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    data, model = load_data("digits"), Standard()
    begin(RunFolder(tmp_path), CONFIG, SILENT, own=(model, data))
    begin(RunFolder(tmp_path), CONFIG, SILENT, own=(model, data))
    with pytest.raises(WrongRunError, match="with other weights"):
        begin(RunFolder(tmp_path), CONFIG, SILENT, own=(Standard(), data))


def test_a_run_of_an_earlier_version_goes_on_with_the_network_as_it_was(tmp_path: Path) -> None:
    run, model = RunFolder(tmp_path), Standard()
    open_run(run.path, CONFIG)
    save_checkpoint(model, run.baseline)
    trained = begin(run, CONFIG, SILENT, own=(model, load_data("digits")))[1]
    assert type(trained.model[0]) is Standardised  # type: ignore[index]
    assert not trained.notes
