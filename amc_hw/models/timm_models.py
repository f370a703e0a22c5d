"""The networks of timm (PyTorch Image Models), which is loaded when one is asked for."""

from __future__ import annotations

from torch import nn

from amc_hw.errors import UsageError, first_line, unknown_name
from amc_hw.models.timm_names import TIMM, require_timm_name


def timm_model(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Build a network of timm with random weights; nothing is downloaded.

    Raises:
        UsageError: timm is not installed, there is no such network, or it cannot be built for such data.
    """
    bare = require_timm_name(name)
    import timm

    _require_tag(name)
    try:
        model: nn.Module = timm.create_model(bare, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    except Exception as error:  # whatever the network raises that does not take such data
        raise UsageError(
            f"'{name}' cannot be built for {num_classes} classes and images of {in_channels} channel(s) "
            f"({type(error).__name__}: {first_line(error)}); choose another network of timm."
        ) from error
    return model


def timm_image_size(name: str) -> int | None:
    """Return the side in pixels that the weights of a network were trained for, as its tag or its default tag says.

    Raises:
        UsageError: timm is not installed, or there is no such network.
    """
    bare = require_timm_name(name)
    import timm

    _require_tag(name)
    config = timm.get_pretrained_cfg(bare)
    return None if config is None else int(config.input_size[-1])


def _require_tag(name: str) -> None:
    """Raise UsageError where a name ends in a tag that the network does not have."""
    import timm

    bare, _, tag = name.removeprefix(TIMM).partition(".")
    if tag and name.removeprefix(TIMM) not in (known := timm.list_models(f"{bare}.*", pretrained=True)):
        raise unknown_name("model", name, [f"{TIMM}{each}" for each in (bare, *known)], "model")
