from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from amc_hw.errors import UsageError
from amc_hw.models.zoo import build_model, default_image_size

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn

@dataclass
class Width:
    hidden: int = 4

def classes_only(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))

def both(num_classes, in_channels, hidden=Width().hidden):
    return nn.Sequential(nn.Conv2d(in_channels, hidden, 1), nn.Flatten(), nn.LazyLinear(num_classes))

def anything(**arguments):
    return both(arguments["num_classes"], arguments["in_channels"])

def fails(num_classes):
    raise ZeroDivisionError("oops")

def no_model():
    return 3

not_a_function = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my nets" / "net.py"
    path.parent.mkdir()
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize("function", ["classes_only", "both", "anything"])
def test_a_function_gets_the_arguments_it_takes(file: Path, function: str) -> None:
    model = build_model(f"{file}:{function}", 5, in_channels=3)
    assert model(torch.zeros(2, 3, 2, 2)).shape == (2, 5)
    assert default_image_size(f"{file}:{function}") == 224


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("bith", "did you mean 'both'"),
        ("not_a_function", "unknown function"),
        ("fails", "ZeroDivisionError: oops"),
        ("no_model", "returned int"),
        ("", "names no function"),
    ],
)
def test_wrong_functions(file: Path, function: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(f"{file}:{function}", 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1\ndef net(:\n", "line 2: .*correct the file"),
        ("import a_package_that_is_not_there\n", "ModuleNotFoundError"),
        ("x = 1\n", "has no function 'net'"),
        ("def net():\n\0", "correct the file"),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "net.py"
    path.write_text(content)
    before = set(sys.modules)
    with pytest.raises(UsageError, match=message):
        build_model(f"{path}:net", 5)
    if content != "x = 1\n":
        assert set(sys.modules) == before


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        build_model(f"{tmp_path}/nothing.py:net", 5)
    with pytest.raises(UsageError, match="names no function"):
        build_model(f"{tmp_path}/nothing.py", 5)
