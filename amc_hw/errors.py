"""Every error that amc-hw raises on purpose: one root, one sentence that names the cure, one exit status.

A message writes an argument as ``name=value`` or ``name=``, as Python does; the command line shows the option.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

BUDGET_MISSED = 3
"""The exit status of a run that came to its end without keeping its budget: no error, but nothing to ship."""


class AmcHwError(Exception):
    """The work failed; the message is one sentence that names the cure."""

    exit_status = 1


class UsageError(AmcHwError):
    """Wrong use: an unknown name, an impossible value, files that do not belong together."""

    exit_status = 2


class CheckpointError(UsageError):
    """A checkpoint is missing, unreadable or does not fit the model."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint cannot be read, or its checksums do not fit its content."""


class DivergedError(UsageError):
    """A training's loss is no number any more.

    Attributes:
        happened: what happened, without the cure, which depends on who trains.
    """

    def __init__(self, happened: str, cure: str) -> None:
        super().__init__(f"{happened}; {cure}.")
        self.happened = happened


class TableError(UsageError):
    """A latency table is damaged, of an unknown version, or of another device."""


class BudgetError(UsageError):
    """No policy can reach the budget."""


class BudgetMissedError(BudgetError):
    """No policy kept the budget when it was measured, maybe because the machine was busy."""

    exit_status = 1


class RunFolderError(AmcHwError):
    """A run folder is damaged, or cannot be read or written."""


class WrongRunError(RunFolderError):
    """Wrong use: the folder that was named holds another run, no run, or one that is not so far yet."""

    exit_status = 2


class UnsupportedModelError(AmcHwError):
    """The model has something that cannot be traced, pruned or exported."""


class DeviceError(AmcHwError):
    """A device cannot be reached, or a measurement on it failed."""


def first_line(error: BaseException) -> str:
    """Return the first line of what a library's error says, without colours, or its class where it says nothing."""
    return re.sub(r"\x1b\[[\d;]*m", "", str(error).strip() or type(error).__name__).splitlines()[0]


def in_one_line(error: BaseException, most: int | None = 200) -> str:
    """Return an error's class and what it says in one line, of so many characters at most."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def path_of(steps: Iterable[str | int]) -> str:
    """Return where a value stands in a file, field by field (``entries.3.mean_us``), in one line.

    The names are those of the file, which may have line breaks and other characters that no terminal should get.
    """
    texts = map(str, steps)
    return ".".join(text if text.isprintable() else repr(text)[1:-1] for text in texts)


LONGEST_NAME = 80
"""Characters of a name that a message repeats; what is longer stands in a damaged file."""


def unknown_name(kind: str, name: str, known: Iterable[str], argument: str = "") -> UsageError:
    """Return a UsageError that says which names exist and which is nearest.

    Args:
        kind: what the name is of, for example ``"model"``.
        name: what the user wrote.
        known: every name that would have been accepted.
        argument: that it was given for, where there is one.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    # Of names that are equally near, the one that starts alike is meant: resnet20 for resnet21.
    nearest = max(near, key=lambda other: common_start(name, other), default=None)
    hint = f"did you mean '{nearest}'?" if nearest else f"known: {', '.join(names)}."
    place = f" for {argument}=" if argument else ""
    shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return UsageError(f"unknown {kind} '{shown}'{place}; {hint}")


def common_start(name: str, other: str) -> int:
    """Return how many characters two names begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(name, other, strict=False)) if a != b), min(len(name), len(other)))
