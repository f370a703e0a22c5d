"""A run folder that was begun: with which settings, and which of them may differ when it is gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from amc_hw.errors import UsageError, WrongRunError
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import damaged, make_folder, read_json, require_folder, write_json
from amc_hw.runs.folder import RunFolder

_MAY_CHANGE = frozenset({"command", "versions", "epochs", "episodes", "table", "format", "smaller"})
"""What may differ when a run goes on: the length of a search (see `require_same_search`), another fine-tuning, and what
the result is held against."""
_MAY_CHANGE_UNSEARCHED = frozenset({"metric", "budget", "limits", "rounds", "scored"})
"""What may also differ where no episode was scored yet: a budget that was out of reach."""
_NOT_KNOWN: Mapping[str, object] = {"image_size": None, "scored": "", "precision": "auto"}
"""Of settings that a run finds out: what they are before, or where an earlier version wrote none."""
_BUILT_ON = frozenset({"epochs", "episodes"})
"""What may not where rounds build on each other, or weights are what is pruned."""


def open_run(run: Path, config: RunConfig) -> RunConfig:
    """Begin a run folder, or go on with one that was begun with the same settings.

    Raises:
        WrongRunError: the folder holds a run of something else.
        RunFolderError: the folder cannot be written.
    """
    require_same_run(run, config)
    if RunFolder(run).config.exists() and read_config(run).image_size is None:
        # an earlier version's goes on as it began
        config = config.model_copy(update={"image_size": None})
    make_folder(run)
    unset = {name for name in ("others", "smaller", "scored") if not getattr(config, name)}
    write_json(RunFolder(run).config, config.model_dump(exclude=unset))
    return config


def require_same_run(run: Path, config: RunConfig) -> None:
    """Raise WrongRunError where a folder holds a run of something else, or is none."""
    require_folder(run)
    folder = RunFolder(run)
    if not folder.config.exists():
        return
    before = read_config(run).model_dump()
    for key, unknown in _NOT_KNOWN.items():
        if unknown in (before[key], getattr(config, key)):
            config = config.model_copy(update={key: before[key]})
    fixed = _BUILT_ON if config.rounds or config.granularity == "weights" else frozenset()
    is_open = not folder.has_episodes() and not folder.policy.exists()
    open_still = _MAY_CHANGE_UNSEARCHED if is_open else frozenset()
    if is_open and [*before["others"]] == [*config.others]:  # their budgets may change as the first one's may
        before["others"] = config.others
    for key, now in config.model_dump().items():
        if key not in (_MAY_CHANGE - fixed) | open_still and before[key] != now:
            begun, asked = f"{key} {before[key]!r}", repr(now)
            if key == "others":
                begun, asked = f"the further devices {_as_budgets(before[key])}", _as_budgets(now)
            if key == "scored":
                begun = f"scores of {before[key]!r}"
            raise WrongRunError(f"{run} is a run with {begun}, not {asked}; choose another run= folder.")


def _as_budgets(others: Mapping[str, str]) -> str:
    """Return further devices with their budgets, as users write them."""
    return ",".join(f"{name}={text}" for name, text in others.items()) or "(none)"


def require_same_search(run: Path, config: RunConfig) -> None:
    """Raise WrongRunError where a search has begun that was to have another length: its steps depend on it."""
    folder = RunFolder(run)
    if folder.config.exists() and folder.has_episodes() and (begun := read_config(run).episodes) != config.episodes:
        raise WrongRunError(f"{run} is a run with episodes {begun}, not {config.episodes}; choose another run= folder.")


def read_config(run: Path) -> RunConfig:
    """Read a run's settings; raise WrongRunError where there are none, RunFolderError where they are damaged."""
    require_folder(run)
    if not run.is_dir():
        raise WrongRunError(f"the run folder {run} does not exist; make one with: amc-hw search --run {run} ...")
    path = RunFolder(run).config
    if not path.exists() and (within := sorted(run.glob(f"*/{path.name}"))):
        raise WrongRunError(f"{run} is a folder of runs; name one of them, for example {within[0].parent}.")
    document = read_json(path)
    if not isinstance(document, dict) or not {"model", "data"} <= document.keys():  # a new run may leave these out
        raise damaged(path, "it names no model and no data")
    document.setdefault("precision", "fp32")  # earlier versions knew no other
    try:
        return RunConfig.model_validate(document)
    except (ValidationError, UsageError, UnicodeError) as error:  # half a surrogate pair is no text
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).rstrip(".")
        raise damaged(path, fault) from error
