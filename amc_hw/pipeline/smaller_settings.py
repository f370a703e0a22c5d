"""What smaller networks a run may be held against: told before the work."""

from __future__ import annotations

from pathlib import Path

from amc_hw.errors import UsageError
from amc_hw.models.checkpoint_kind import require_checkpoint
from amc_hw.models.names import is_user_file, require_model_name
from amc_hw.pipeline.several_settings import is_measured
from amc_hw.runs.config import CLASSIFY, RunConfig


def require_smaller(config: RunConfig, *, own_model: bool) -> None:
    """Refuse smaller networks that are none, whose weights are not there, or that could not be timed.

    Args:
        config: the settings.
        own_model: whether the networks are the caller's own, and not found by their names.

    Raises:
        UsageError: that.
    """
    if not config.smaller:
        return
    require_measured(config, in_reach=is_measured(config.device))
    if own_model:
        return
    for name, checkpoint in config.smaller.items():
        if name == config.model:
            raise UsageError(f"'{name}' is the network that is compressed; name a smaller one with smaller=.")
        if config.task != CLASSIFY and not is_user_file(name):
            raise UsageError(f"with a task of your own a smaller network is path/to/file.py:function, not '{name}'.")
        require_model_name(name, "smaller")
        require_checkpoint(Path(checkpoint))


def require_measured(config: RunConfig, *, in_reach: bool) -> None:
    """Raise UsageError where there are smaller networks, and no device that they could be timed on."""
    if config.smaller and not in_reach:
        raise UsageError(
            f"smaller networks are timed on the device, and '{config.device}' is not in reach; connect it, or leave "
            "smaller= out."
        )
