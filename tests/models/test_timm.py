"""Networks of timm, with a stand-in for the package that has three, registered as timm does it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from amc_hw.errors import UsageError
from amc_hw.models import timm_names
from amc_hw.models.checkpoint import load_checkpoint, save_checkpoint
from amc_hw.models.names import require_model_name
from amc_hw.models.zoo import build_model, default_image_size

INIT = """
import fnmatch
from types import SimpleNamespace
from timm.models import nets

SIZES = {"tinynet_e": 106, "tinynet_e.in1k": 106, "tinynet_e.large": 240}

def create_model(name, pretrained, num_classes, in_chans):
    assert not pretrained
    return getattr(nets, name.split(".")[0])(num_classes, in_chans)

def get_pretrained_cfg(name):
    return SimpleNamespace(input_size=(3, SIZES[name], SIZES[name])) if name in SIZES else None

def list_models(pattern, pretrained):
    return fnmatch.filter([name for name in SIZES if "." in name], pattern)
"""
NETS = """
from torch import nn
from timm.models._registry import register_model

def unregistered(num_classes, in_chans):
    pass

@register_model
def tinynet_e(num_classes, in_chans):
    return nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

@register_model  # has no weights
@staticmethod
def plainnet_18(num_classes, in_chans):
    return tinynet_e(num_classes, in_chans)

@register_model
def colournet_3(num_classes, in_chans):
    if in_chans != 3:
        raise ValueError("three channels, please")
    return tinynet_e(num_classes, in_chans)
"""


@pytest.fixture(autouse=True)
def timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    models = tmp_path / "timm" / "models"
    models.mkdir(parents=True)
    (tmp_path / "timm" / "__init__.py").write_text(INIT)
    (models / "__init__.py").touch()
    (models / "_registry.py").write_text("def register_model(build):\n    return getattr(build, '__func__', build)\n")
    (models / "nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    timm_names._registered.cache_clear()
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
        del sys.modules[name]
    timm_names._registered.cache_clear()


def test_a_network_has_the_classes_and_channels_of_the_data() -> None:
    model = build_model("timm:tinynet_e", 6, in_channels=1)
    assert model(torch.zeros(2, 1, 20, 20)).shape == (2, 6)


def test_the_seed_draws_the_weights() -> None:
    one, same, other = (build_model("timm:plainnet_18", 2, seed=seed)[0].weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_image_size_is_that_of_its_weights() -> None:
    assert default_image_size("timm:tinynet_e") == 106
    assert default_image_size("timm:tinynet_e.large") == 240
    assert default_image_size("timm:plainnet_18") == 224


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    trained, fresh = (build_model("timm:tinynet_e", 6, seed=seed) for seed in (1, 2))
    save_checkpoint(trained, tmp_path / "weights.pt")
    load_checkpoint(fresh, tmp_path / "weights.pt")
    assert isinstance(fresh[0], nn.Conv2d)
    assert torch.equal(fresh[0].weight, trained[0].weight)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("timm:tinynet", "did you mean 'timm:tinynet_e'"),
        ("timm:plain", "did you mean 'timm:plainnet_18'"),
        ("timm:plainet_18", "did you mean 'timm:plainnet_18'"),
        ("timm:unregistered", "unknown model"),
        ("timm:", "timm.list_models"),
        ("timm:hf-hub:timm/tinynet_e", "unknown model"),
        ("tinm:tinynet_e", "unknown model"),
    ],
)
def test_a_wrong_name_is_refused_before_timm_is_loaded(name: str, says: str) -> None:
    for ask in (require_model_name, default_image_size, lambda name: build_model(name, 10)):
        with pytest.raises(UsageError, match=says):
            ask(name)
    assert "timm" not in sys.modules


def test_a_wrong_tag_is_refused_with_the_nearest() -> None:
    for ask in (default_image_size, lambda name: build_model(name, 10)):
        with pytest.raises(UsageError, match=r"did you mean 'timm:tinynet_e\.large'"):
            ask("timm:tinynet_e.larg")


def test_a_network_that_cannot_be_built_says_why() -> None:
    with pytest.raises(UsageError, match=r"1 channel.*three channels, please"):
        build_model("timm:colournet_3", 10, in_channels=1)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_names, "find_spec", lambda name: None)
    for ask in (require_model_name, default_image_size, lambda name: build_model(name, 10)):
        with pytest.raises(UsageError, match=r"pip install 'amc-hw\[timm\]'"):
            ask("timm:tinynet_e")
