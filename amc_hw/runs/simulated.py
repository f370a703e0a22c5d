"""Whether the device of a file is simulated, also where an earlier version wrote the file."""

from __future__ import annotations

from typing import Any


def tell_simulated(fingerprint: Any) -> Any:
    """Return a fingerprint's document with ``simulated`` in it where the times were made up.

    Earlier versions had no such field: there the device's names say it. Anything but a document is passed on.
    """
    if not isinstance(fingerprint, dict) or "simulated" in fingerprint:
        return fingerprint
    if any(isinstance(value, str) and "simulat" in value.lower() for value in fingerprint.values()):
        return {**fingerprint, "simulated": True}
    return fingerprint
