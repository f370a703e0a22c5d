"""Every model by name: the zoo's own, torchvision's, and functions of the user's files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from amc_hw.errors import UsageError, unknown_name
from amc_hw.models.mobilenet import mobilenet_v1, mobilenet_v2
from amc_hw.models.resnet import resnet
from amc_hw.models.user_file import call_function

_WIDTH = re.compile(r"(?P<name>.+)_(?P<width>\d+(\.\d+)?)")


@dataclass(frozen=True)
class _Entry:
    build: Callable[..., nn.Module]
    image_size: int
    has_width: bool = False


_ZOO: dict[str, _Entry] = {
    "mobilenet_v1": _Entry(mobilenet_v1, 224, has_width=True),
    "mobilenet_v1_cifar": _Entry(partial(mobilenet_v1, cifar=True), 32, has_width=True),
    "mobilenet_v2": _Entry(mobilenet_v2, 224, has_width=True),
    "mobilenet_v2_cifar": _Entry(partial(mobilenet_v2, cifar=True), 32, has_width=True),
    "plain20": _Entry(partial(resnet, 20, residual=False), 32),
    **{f"resnet{depth}": _Entry(partial(resnet, depth), 32) for depth in (20, 32, 44, 56, 110)},
}
_PATTERNS = ("torchvision:NAME", "path/to/file.py:function")


def build_model(name: str, num_classes: int, in_channels: int = 3, *, seed: int = 0) -> nn.Module:
    """Build an untrained model; the same seed draws the same weights.

    Args:
        name: of the zoo (the MobileNets take a width, ``mobilenet_v1_0.5``), ``torchvision:NAME``, or
            ``path/to/file.py:function``; the function gets `num_classes` and `in_channels` if it takes them.
        num_classes: outputs of the classifier.
        in_channels: channels of the image.
        seed: of the initial weights; the global random state is left as it was.

    Raises:
        UsageError: there is no such model, or it cannot be built so.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _builder(name)(num_classes=num_classes, in_channels=in_channels)


def known_image_size(name: str) -> int | None:
    """Return the side in pixels of the images a model was designed for; None for a user's own file."""
    if name.startswith("torchvision:"):
        return _torchvision_image_size(name)
    return None if _is_user_file(name) else _lookup(name)[0].image_size


def default_image_size(name: str) -> int:
    """Return the side in pixels of the images a model was designed for; 224 for a user's own file."""
    return known_image_size(name) or 224


def _builder(name: str) -> Callable[..., nn.Module]:
    if name.startswith("torchvision:"):
        return partial(_torchvision_model, name)
    if _is_user_file(name):
        return partial(call_function, name)
    entry, width = _lookup(name)
    return partial(entry.build, width=width) if entry.has_width else entry.build


def _is_user_file(name: str) -> bool:
    return name.endswith(".py") or ".py:" in name


def _lookup(name: str) -> tuple[_Entry, float]:
    """Return the zoo's entry and the width that the name asks for."""
    if name in _ZOO:
        return _ZOO[name], 1.0
    match = _WIDTH.fullmatch(name)
    entry = _ZOO.get(match["name"]) if match else None
    if match is None or entry is None or not entry.has_width:
        raise unknown_name("model", name, [*_ZOO, *_PATTERNS])
    width = float(match["width"])
    if not 0.05 <= width <= 4:
        raise UsageError(f"the width of '{name}' must be from 0.05 to 4, for example {match['name']}_0.5.")
    return entry, width


def _torchvision_name(name: str) -> str:
    """Return the name without its prefix once it is known to be a classifier of torchvision."""
    from torchvision import models

    _, _, bare = name.partition(":")
    known = models.list_models(module=models)
    if bare not in known:
        raise unknown_name("model", name, [f"torchvision:{each}" for each in known])
    return bare


def _torchvision_model(name: str, num_classes: int, in_channels: int) -> nn.Module:
    from torchvision import models

    bare = _torchvision_name(name)
    if in_channels != 3:
        raise UsageError(
            f"'{name}' takes colour images, but the data has {in_channels} channel(s); "
            "choose colour data or a model of the zoo."
        )
    # GoogLeNet and Inception return a tuple while they train, unless they are built without auxiliary heads.
    options = {"aux_logits": False, "init_weights": True} if bare in ("googlenet", "inception_v3") else {}
    model: nn.Module = models.get_model(bare, weights=None, num_classes=num_classes, **options)
    return model


def _torchvision_image_size(name: str) -> int:
    """Read the size from the published weights' transforms; nothing is downloaded."""
    from torchvision import models

    weights = models.get_model_weights(_torchvision_name(name)).DEFAULT
    return int(weights.transforms().crop_size[0])
