"""What a run for several devices may be: told before the work."""

from __future__ import annotations

from amc_hw.devices.registry import precisions_of
from amc_hw.devices.table_only import require_device
from amc_hw.errors import UsageError
from amc_hw.runs.config import RunConfig


def measured_first(config: RunConfig) -> RunConfig:
    """Return the settings with a device first that is more than a table, where there is one: it is measured."""
    budgets = {config.device: config.budget, **config.others}
    if not config.others or not is_table(config.device):
        return config
    first = next((name for name in config.others if not is_table(name)), config.device)
    others = {name: text for name, text in budgets.items() if name != first}
    return config.model_copy(update={"device": first, "budget": budgets[first], "others": others})


def require_several(config: RunConfig) -> None:
    """Raise UsageError where settings do not go with several devices, or one of these cannot be."""
    if not config.others:
        return
    for is_given, sentence in (
        (config.granularity == "weights", "single weights have no device; name none"),
        (config.precision == "auto", "the precision is chosen for one device only; give precision=fp32, or int8"),
        (config.table is not None, "each device has a table of its own; leave table= out"),
        (bool(config.smaller), "smaller networks are timed on one device only; leave smaller= out"),
        (bool(config.rounds), "rounds are for one device; leave rounds= out"),
        (config.reward != "resource", "the reward accuracy_guaranteed has no budget to hold; leave reward= out"),
    ):
        if is_given:
            raise UsageError(f"several devices are named: {sentence}, or name one device.")
    for name in config.others:
        require_device(name, None, config.known_precision)


def is_table(name: str) -> bool:
    """Tell whether a device is known by its latency table alone."""
    try:
        precisions_of(name)
    except UsageError:
        return True
    return False
