"""An exported file is held against the network's first output, however the network gives it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from writers import available

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.check import output_difference, require_near
from amc_hw.formats.export import export
from amc_hw.formats.program import ENDING, export_program
from amc_hw.formats.registry import FORMATS

IMAGES = torch.rand(4, 3, 2, 2)


class File:
    """Gives the mean of every image's channels, some of them scaled."""

    image_size = (3, 2, 2)

    def __init__(self, scale: float, channels: int = 3) -> None:
        self.scale, self.channels = scale, channels

    def __call__(self, images: np.ndarray) -> np.ndarray:
        means: np.ndarray = images.mean((2, 3))[:, : self.channels]
        return means * self.scale


class Gives(nn.Module):
    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x.mean((2, 3)))


@pytest.mark.parametrize("wrap", [lambda y: y, lambda y: (y, 2 * y), lambda y: {"out": y}, lambda y: y[:, :, None]])
def test_a_wrong_file_is_told_from_a_right_one(wrap: Any) -> None:
    assert output_difference(Gives(wrap), File(1), IMAGES) < 1e-6
    assert output_difference(Gives(wrap), File(1.5), IMAGES) == pytest.approx(0.5, rel=1e-4)
    assert output_difference(Gives(wrap), File(1, channels=2), IMAGES) == math.inf


class TwoOutputs(nn.Module):
    """Gives a second output that is another one where a converter looks at it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.mean((2, 3))
        return y, y * 2 if torch.compiler.is_compiling() else y


@pytest.mark.parametrize("ending", ["tflite", "onnx", ENDING])
def test_a_wrong_second_output_is_told(ending: str, tmp_path: Path) -> None:
    if ending != ENDING:
        available(ending)
    write: Callable[[nn.Module, Tensor, Path], None] = export_program if ending == ENDING else export
    with pytest.raises(UnsupportedModelError, match="would compute something else than the PyTorch network"):
        write(TwoOutputs().eval(), torch.rand(1, 3, 8, 8), tmp_path / f"model.{ending}")


class FileOfTwo(File):
    """Gives a second output that rounding has left nothing of, or none."""

    def __init__(self, second: list[float]) -> None:
        super().__init__(1)
        self.second = second

    def outputs(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        means = self(inputs[0])
        return [means, means * 0 + np.asarray(self.second, np.float32)]


def test_rounding_is_looked_at_in_every_output(tmp_path: Path) -> None:
    twice = Gives(lambda y: (y, y))
    with pytest.raises(UnsupportedModelError, match="would say nothing of the network's outputs"):
        require_near(twice, FileOfTwo([5.0, 5.0, 5.0]), IMAGES, tmp_path / "model.tflite")
    require_near(Gives(lambda y: (y, y * 0 + 5)), FileOfTwo([5.0, 5.0, 5.0]), IMAGES, tmp_path / "model.tflite")


def test_where_there_is_nothing_to_compare_no_file_is_called_right() -> None:
    assert not output_difference(Gives(lambda y: "none"), File(1), IMAGES) <= 1


class ComputesSomethingElse(nn.Module):
    """Half as much again where a converter looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x).mean((2, 3))
        return y * 1.5 if torch.compiler.is_compiling() else y


@pytest.mark.parametrize("ending", [*FORMATS, ENDING])
def test_a_file_that_would_compute_something_else_is_refused_and_not_written(ending: str, tmp_path: Path) -> None:
    if ending != ENDING:
        available(ending)
    write: Callable[[nn.Module, Tensor, Path], None] = export_program if ending == ENDING else export
    file = tmp_path / f"model.{ending}"
    with pytest.raises(UnsupportedModelError, match="would compute something else than the PyTorch network"):
        write(ComputesSomethingElse().eval(), torch.rand(1, 3, 8, 8), file)
    assert not file.exists()


def test_a_network_that_cannot_be_traced_is_refused_in_one_sentence(tmp_path: Path) -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(UnsupportedModelError, match="cannot trace this network: "):
        export_program(Branches().eval(), torch.rand(1, 3, 8, 8), tmp_path / "model.pt2")
