"""The settings of one compression, as they stand in a run folder's config.json."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amc_hw.errors import RunFolderError, UsageError, WrongRunError
from amc_hw.policy import Metric
from amc_hw.runs.files import make_folder, maker, read_json, write_json

CONFIG = "config.json"
DEMO_MODEL, DEMO_DATA = "mobilenet_v1_cifar_0.5", "digits"
"""The demonstration trains its own network; every other run brings a checkpoint."""

_MAY_CHANGE = frozenset({"command", "versions", "epochs", "episodes", "table", "format"})
"""What may differ when a run goes on: more episodes, another fine-tuning, a newer library."""
_MAY_CHANGE_UNSEARCHED = frozenset({"metric", "budget", "limits", "rounds"})
"""What may also differ where no episode was scored yet: a budget that was out of reach."""
_BUILT_ON = frozenset({"epochs", "episodes"})
"""What may not where rounds build on each other, or weights are what is pruned."""


class RunConfig(BaseModel):
    """Everything that decides what a run does.

    Attributes:
        model: a name of the zoo, ``torchvision:NAME`` or ``file.py:function``.
        checkpoint: file of trained weights, or None where the run trains them (the demonstration).
        data: a data set's name.
        data_root: its folder, where it needs one.
        image_size: side of the images in pixels; None where they are no squares, and in folders of earlier versions.
        device: a device's name.
        table: a latency table's file, or None for the default one of the device.
        metric: what the budget counts.
        budget: ``0.5x`` or an absolute value with its unit.
        limits: budgets on other metrics that hold at the same time.
        rounds: larger budgets of the metric to prune and fine-tune to first.
        granularity: what is removed, whole channels or single weights.
        importance: which channels of a group are kept, by name.
        reward: name of the reward.
        accuracy_floor: least accuracy on the search split before fine-tuning, 0..1, or None for no such floor.
        strategy: name of the search strategy.
        agent: folder of an earlier run whose trained agent the search begins with, or None.
        episodes: policies to score.
        seed: decides everything that chance plays a part in.
        multiple: channel counts are multiples of it (finer in narrow groups).
        lower: smallest keep ratio of a group.
        keep_blocks: whether every residual block stays; else a search may leave some out whole.
        exclude: patterns of layers that keep all their channels.
        include: patterns of the only layers that may lose channels; without any, all may.
        epochs: of fine-tuning.
        command: what was typed.
        versions: of the libraries.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model: str
    checkpoint: str | None = None
    data: str
    data_root: str | None = None
    image_size: Annotated[int, Field(ge=8)] | None = None
    device: str = "host"
    table: str | None = None
    metric: Metric = "latency_ms"
    budget: str = "0.5x"
    limits: dict[Metric, str] = {}
    rounds: tuple[str, ...] = ()
    granularity: Literal["channels", "weights"] = "channels"
    importance: str = "reconstruction"
    reward: str = "resource"
    accuracy_floor: Annotated[float, Field(gt=0, lt=1)] | None = None
    strategy: str = "auto"
    agent: str | None = None
    episodes: Annotated[int, Field(ge=1)] = 100
    seed: Annotated[int, Field(ge=0)] = 0
    multiple: Annotated[int, Field(ge=1)] = 8
    lower: Annotated[float, Field(gt=0, le=1)] = 0.2
    keep_blocks: bool = False
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    epochs: Annotated[int, Field(ge=0)] = 20
    command: str = ""
    versions: dict[str, str] = {}


def make_config(**settings: Any) -> RunConfig:
    """Check settings and return them with the versions of the libraries; raise UsageError on a bad value."""
    try:
        return RunConfig(**settings, versions=library_versions())
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"])).replace("_", "-")
        raise UsageError(f"--{option}: {first['msg']}.") from error


def open_run(run: Path, config: RunConfig) -> RunConfig:
    """Begin a run folder, or go on with one that was begun with the same settings.

    Raises:
        WrongRunError: the folder holds a run of something else.
        RunFolderError: the folder cannot be written.
    """
    path = run / CONFIG
    if path.exists():
        before = read_config(run).model_dump()
        if before["image_size"] is None:  # a run of an earlier version goes on as it began
            config = config.model_copy(update={"image_size": None})
        fixed = _BUILT_ON if config.rounds or config.granularity == "weights" else frozenset()
        open_still = frozenset() if any(run.rglob("episodes.jsonl")) else _MAY_CHANGE_UNSEARCHED
        for key, now in config.model_dump().items():
            if key not in (_MAY_CHANGE - fixed) | open_still and before[key] != now:
                raise WrongRunError(
                    f"{run} is a run with {key} {before[key]!r}, not {now!r}; choose another --run folder."
                )
    make_folder(run)
    write_json(path, config.model_dump())
    return config


def read_config(run: Path) -> RunConfig:
    """Read a run's settings; raise WrongRunError where there are none, RunFolderError where they are damaged."""
    if not run.is_dir():
        raise WrongRunError(f"the run folder {run} does not exist; make one with: amc-hw search --run {run} ...")
    if not (run / CONFIG).exists() and (within := sorted(run.glob(f"*/{CONFIG}"))):
        raise WrongRunError(f"{run} is a folder of runs; name one of them, for example {within[0].parent}.")
    document = read_json(run / CONFIG)
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        fault = error.errors()[0]["msg"]
        raise RunFolderError(
            f"{run / CONFIG} is damaged ({fault}); delete it and make it again with: {maker(run / CONFIG)}"
        ) from error


def library_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    versions = {"python": platform.python_version()}
    for name in ("amc-hw", "torch", "ai-edge-litert", "litert-torch", "onnxruntime", "numpy", "scikit-learn"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
