"""The size of the images is the data's or the user's, and a run keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import TINY, amc_hw
from PIL import Image
from tiny import TinyNet
from torch import Tensor, nn

from amc_hw.data.dataset import load_data
from amc_hw.errors import UnsupportedModelError, UsageError, WrongRunError
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.pipeline.begin import begin, load_model_and_data, open_trained
from amc_hw.runs.begun import read_config
from amc_hw.runs.config import RunConfig, make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.sweep.sweep import is_finished
from amc_hw.tasks.classification import require_classes


class Fixed(nn.Module):
    """For images of 24x24 only: its classifier looks at every place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.classifier = nn.Linear(8 * 12 * 12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv(x).relu().flatten(1))


def image_folder(folder: Path, widths: tuple[int, ...]) -> Path:
    """Images 40 pixels high, of widths in turn."""
    for part, count in (("train", 12), ("test", 3)):
        for i in range(2 * count):
            path = folder / part / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((40, widths[i % len(widths)], 3), 8 * i, np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("squares"), (40,))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("mixed"), (40, 44))


def settings(folder: Path, data: Path, **more: object) -> RunConfig:
    checkpoint = folder / "weights.pt"
    save_checkpoint(TinyNet(2, 3), checkpoint)
    return make_config(model=TINY, checkpoint=str(checkpoint), data=f"imagefolder:{data}", budget="0.5x", **more)


def test_a_run_takes_the_size_of_its_images_and_keeps_it(tmp_path: Path, squares: Path) -> None:
    run, config = tmp_path / "run", settings(tmp_path, squares)
    begun, trained = begin(RunFolder(run), config, SILENT)
    assert (begun.image_size, trained.data.image_size) == (40, (3, 40, 40))
    assert read_config(run).image_size == 40
    assert begin(RunFolder(run), config, SILENT)[0] == begun
    assert open_trained(run)[1].example.shape == (1, 3, 40, 40)
    with pytest.raises(WrongRunError, match="image_size 40, not 64"):
        begin(RunFolder(run), settings(tmp_path, squares, image_size=64), SILENT)
    other = config.model_copy(update={"data": f"imagefolder:{squares}/"})
    with pytest.raises(WrongRunError, match="run with data"):
        begin(RunFolder(run), other, SILENT)


def test_a_run_takes_the_size_that_was_asked_for(tmp_path: Path, mixed: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UsageError, match="give it as image_size="):
        begin(RunFolder(run), settings(tmp_path, mixed), SILENT)
    assert not run.exists()
    assert begin(RunFolder(run), settings(tmp_path, mixed, image_size=24), SILENT)[1].data.image_size == (3, 24, 24)
    assert open_trained(run)[1].data.image_size == (3, 24, 24)


def test_a_run_of_an_earlier_version_goes_on_at_its_size(tmp_path: Path, squares: Path) -> None:
    run, config = tmp_path / "run", settings(tmp_path, squares)
    begin(RunFolder(run), config, SILENT)
    document = json.loads((RunFolder(run).config).read_text())
    del document["image_size"]
    (RunFolder(run).config).write_text(json.dumps(document))
    assert begin(RunFolder(run), config, SILENT)[1].data.image_size == (3, 224, 224)
    assert open_trained(run)[1].data.image_size == (3, 224, 224)
    assert read_config(run).image_size is None
    with pytest.raises(WrongRunError, match="images of 224 pixels, not 40"):
        begin(RunFolder(run), settings(tmp_path, squares, image_size=40), SILENT)


def test_a_finished_run_is_finished_whether_its_size_was_asked_for_or_found(tmp_path: Path, squares: Path) -> None:
    run, config = tmp_path / "run", settings(tmp_path, squares)
    begin(RunFolder(run), config, SILENT)
    (run / "summary.json").write_text("{}")
    assert is_finished(run, config)
    assert is_finished(run, config.model_copy(update={"image_size": 40}))
    assert not is_finished(run, config.model_copy(update={"image_size": 64}))


def test_networks_with_a_known_size_get_it_where_images_have_none(mixed: Path) -> None:
    model, data = load_model_and_data("resnet20", f"imagefolder:{mixed}", None)
    assert data.image_size == (3, 32, 32)
    assert model(torch.zeros(1, *data.image_size)).shape == (1, 2)


def test_images_that_keep_their_size_are_told() -> None:
    with pytest.raises(UsageError, match=r"image_size=64 was asked for, but the images of 'digits' are 32x32"):
        load_model_and_data("resnet20", "digits", None, image_size=64)
    assert load_model_and_data("resnet20", "digits", None, image_size=32)[1].image_size == (1, 32, 32)


def test_a_network_of_another_size_is_told_which(squares: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"on images of 40x40 pixels, but of 24x24; .*image_size=24"):
        require_classes(Fixed(), load_data(f"imagefolder:{squares}"))
    require_classes(Fixed(), load_data(f"imagefolder:{squares}", size=24))


def test_a_network_that_does_not_give_class_scores_alone_is_told_its_cure() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x.mean((2, 3)), x.amax((2, 3))

    with pytest.raises(UsageError, match=r"gives a tuple where one tensor .*; give the task \(task=\) that it is for"):
        require_classes(Two(), load_data("digits"))
    with pytest.raises(UsageError, match=r"scores of shape \(1,\) for an image, and digits has 10 classes"):
        require_classes(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), load_data("digits"))


def test_train_says_the_size(tmp_path: Path, squares: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("train", "--model", TINY, "--data", f"imagefolder:{squares}", "--epochs", 1, "--out", tmp_path / "w.pt")
    assert amc_hw(*command) == 0
    assert "images of 40x40 pixels" in capsys.readouterr().err
    assert amc_hw(*command[:-1], tmp_path / "v.pt", "--image-size", 16) == 0
    assert "images of 16x16 pixels" in capsys.readouterr().err
