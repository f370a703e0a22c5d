"""Every model by name: the zoo's own, torchvision's, timm's, and functions of the user's files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from amc_hw.errors import UsageError, unknown_name
from amc_hw.models.mobilenet import mobilenet_v1, mobilenet_v2
from amc_hw.models.names import TORCHVISION, ZOO, is_user_file, zoo_name
from amc_hw.models.resnet import resnet
from amc_hw.models.timm_models import timm_image_size, timm_model
from amc_hw.models.timm_names import TIMM
from amc_hw.models.user_file import call_function

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_cifar": partial(mobilenet_v1, cifar=True),
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_cifar": partial(mobilenet_v2, cifar=True),
    "plain20": partial(resnet, 20, residual=False),
    **{f"resnet{depth}": partial(resnet, depth) for depth in (20, 32, 44, 56, 110)},
}


def build_model(name: str, num_classes: int, in_channels: int = 3, *, seed: int = 0) -> nn.Module:
    """Build an untrained model; the same seed draws the same weights.

    Args:
        name: of the zoo (the MobileNets take a width, ``mobilenet_v1_0.5``), ``torchvision:NAME``, ``timm:NAME``, or
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


def build_from_file(name: str, *, seed: int = 0) -> nn.Module:
    """Build a model of ``path/to/file.py:function``, which is given nothing; else see `build_model`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return call_function(name)


def known_image_size(name: str) -> int | None:
    """Return the side in pixels of the images a model was designed for; None for a user's own file."""
    if name.startswith(TORCHVISION):
        return _torchvision_image_size(name)
    if name.startswith(TIMM):
        return timm_image_size(name)
    return None if is_user_file(name) else ZOO[zoo_name(name)[0]].image_size


def default_image_size(name: str) -> int:
    """Return the side in pixels of the images a model was designed for; 224 for a user's own file."""
    return known_image_size(name) or 224


def _builder(name: str) -> Callable[..., nn.Module]:
    if name.startswith(TORCHVISION):
        return partial(_torchvision_model, name)
    if name.startswith(TIMM):
        return partial(timm_model, name)
    if is_user_file(name):
        return partial(call_function, name)
    known, width = zoo_name(name)
    return partial(_BUILDERS[known], width=width) if ZOO[known].has_width else _BUILDERS[known]


def _torchvision_name(name: str) -> str:
    """Return the name without its prefix once it is known to be a classifier of torchvision."""
    from torchvision import models

    _, _, bare = name.partition(":")
    known = models.list_models(module=models)
    if bare not in known:
        raise unknown_name("model", name, [f"torchvision:{each}" for each in known], "model")
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
