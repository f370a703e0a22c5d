"""What a run for several devices may be: told before the work."""

from __future__ import annotations

from amc_hw.devices.base import BusyError
from amc_hw.devices.registry import open_device, precisions_of
from amc_hw.devices.table_only import require_device
from amc_hw.errors import DeviceError, UsageError
from amc_hw.latency.shipped_tables import shipped_table
from amc_hw.runs.begun import read_config
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder


def measured_first(run: RunFolder, config: RunConfig) -> RunConfig:
    """Return the settings with a device first that can be measured, where there is one; or in a begun run's order.

    Args:
        run: the run folder.
        config: the settings.
    """
    if not config.others:
        return config
    budgets = {config.device: config.budget, **config.others}
    begun = read_config(run.path) if run.config.exists() else config
    if {begun.device, *begun.others} != set(budgets):  # another run's, which is told later
        begun = config
    first, others = begun.device, [*begun.others]
    if begun is config and not is_measured(first):
        first = next((name for name in others if is_measured(name)), first)
        others = [name for name in budgets if name != first]
    rest = {name: budgets[name] for name in others}
    return config.model_copy(update={"device": first, "budget": budgets[first], "others": rest})


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


def is_measured(name: str) -> bool:
    """Tell whether a device is more than a table; of one with a shipped table, whether it is here."""
    try:
        precisions_of(name)
        if shipped_table(name) is not None:
            open_device(name).close()
    except BusyError:  # of somebody else who measures there
        return True
    except (DeviceError, UsageError):
        return False
    return True
