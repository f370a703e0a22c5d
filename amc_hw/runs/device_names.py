"""Several devices and their latency budgets as users write them: ``pixel1=60ms,host=2ms``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amc_hw.errors import UsageError

DEFAULT_BUDGET = "0.5x"


def for_each_device(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings in which ``device`` is one name, with its own budget; ``others`` has further ones with theirs.

    Raises:
        UsageError: a device is named twice, has no latency budget, or a budget names a device that is none of them.
    """
    named, latency = given.get("device"), given.get("latency")
    if not isinstance(named, list | tuple):
        named = [named] if isinstance(named, str) else []
    if "device" in given and (not named or not all(isinstance(name, str) and name for name in named)):
        raise UsageError(f"device={given['device']!r} is no device's name; write for example device='host'.")
    for name in named:
        if named.count(name) > 1:
            raise UsageError(f"the device '{name}' is named twice; name each device once.")
    settings = dict(given) | ({"device": named[0]} if named else {})
    if isinstance(latency, str) and "=" in latency:
        budgets = _by_device(latency, named or ["host"])
    elif len(named) > 1:
        budgets = dict.fromkeys(named, _for_all(given))
    else:
        return settings
    first, *others = named or ["host"]
    settings["latency"] = budgets[first]
    return settings | ({"others": {name: budgets[name] for name in others}} if others else {})


def _for_all(given: Mapping[str, Any]) -> Any:
    """Return the budget that every one of several devices has."""
    budgets = [name for name in ("latency", "macs", "params", "size") if given.get(name) is not None]
    if budgets and "latency" not in budgets:
        raise UsageError(
            "several devices are named and no latency budget, which alone differs between devices; give latency=0.5x, "
            "or one device."
        )
    latency = given.get("latency")
    if isinstance(latency, str) and "," in latency:
        raise UsageError(
            f"the latency budget '{latency}' does not say which device each is of; write a budget for each: "
            f"{_for_each(given['device'])}"
        )
    return latency or DEFAULT_BUDGET


def _for_each(devices: Sequence[str]) -> str:
    """Return an example of budgets that each name a device."""
    return ",".join(f"{name}={DEFAULT_BUDGET}" for name in devices)


def _by_device(text: str, devices: Sequence[str]) -> dict[str, str]:
    """Read budgets that each name a device; names of devices may hold commas and equals signs."""
    found: dict[str, str] = {}
    rest = text.strip()
    while rest:
        fitting = [name for name in devices if rest.startswith(f"{name}=")]
        if not fitting:
            name = rest.partition("=")[0]
            raise UsageError(
                f"the latency budget '{text}' names '{name}', and the devices are {', '.join(devices)}; write a budget "
                f"for each: {_for_each(devices)}"
            )
        name = max(fitting, key=len)
        if name in found:
            raise UsageError(f"the latency budget '{text}' names '{name}' twice; write one budget for each device.")
        found[name], _, rest = (part.strip() for part in rest[len(name) + 1 :].partition(","))
    if missing := [name for name in devices if name not in found]:
        raise UsageError(
            f"the latency budget '{text}' says nothing of {', '.join(missing)}; write a budget for each device: "
            f"{text},{_for_each(missing)}"
        )
    return found
