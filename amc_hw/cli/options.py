"""Options that several commands share; those of a run's settings are made from the fields of `RunConfig`."""

from __future__ import annotations

import functools
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from annotated_types import Ge
from pydantic.fields import FieldInfo

from amc_hw.runs.config import ABSOLUTE, COMMAS, user_settings

SETTINGS = user_settings()
DEFAULTS: dict[str, Any] = {name: field.default for name, field in SETTINGS.items()}
ARGUMENTS = (
    *SETTINGS,
    "run",
    "compute",
    "out",
    "ray",
    "profile",
    "channels",
    "format",
    "threads",
    "delegate",
    "dtype",
    "like",
)
# A name with what it is set to (``data_root=DIR``), or one at the beginning that a fault is told of (``seed: ...``);
# not what belongs to a device's name (``host:threads=2``).
_ARGUMENT = re.compile(rf"(?:^(?=(?:{'|'.join(SETTINGS)}): )|(?<![\w:,])(?=(?:{'|'.join(ARGUMENTS)})=))(\w+)=?")


def option(name: str, **changed: Any) -> Any:
    """Return the option of a setting as typer has it.

    Args:
        name: of the setting.
        changed: what this command says otherwise, for example ``help``.
    """
    field = SETTINGS[name]
    least = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    how = {"help": field.description, "metavar": field.title, "min": least} | changed
    return typer.Option(dashed(name), **how)


def dashed(name: str) -> str:
    """Return an argument's name as the command line spells it."""
    return f"--{name.replace('_', '-')}"


Model = Annotated[str, option("model")]
TaskName = Annotated[str, option("task", help="whose inputs the network takes: your own path/to/file.py:object")]
DataName = Annotated[str, option("data")]
DataRoot = Annotated[Path | None, option("data_root")]
ImageSize = Annotated[int | None, option("image_size")]
DeviceName = Annotated[str, option("device")]
TableFile = Annotated[Path | None, option("table")]
PrecisionName = Annotated[
    str, option("precision", help="precision of the files: fp32, fp16, bf16, int8, int8-dynamic, int16x8")
]
Epochs = Annotated[int, option("epochs")]
Seed = Annotated[int, option("seed")]
Run = Annotated[Path, typer.Option("--run", help="folder that holds everything about this compression")]
Compute = Annotated[
    str | None,
    typer.Option(help="where to train, prune and score: cpu, cuda or cuda:1; by default a GPU if there is one"),
]
OwnImageSize = Annotated[
    int | None, typer.Option(help="side of the images in pixels, by default the model's own", min=8)
]
Classes = Annotated[int, typer.Option(help="classes that the network tells apart", min=2)]
InChannels = Annotated[int, typer.Option(help="channels of the images: 3, or 1 where they are grey", min=1)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else there")]


def takes_settings(*names: str, **changed: Mapping[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command one option for each setting, in place of its parameter ``chosen``.

    Args:
        names: of the settings.
        changed: setting -> what its option says otherwise here: ``help``, ``default``, ``kind``.
    """
    made = [_parameter(name, dict(changed.get(name, {}))) for name in names]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters

        @functools.wraps(command)
        def run(**given: Any) -> None:
            chosen = {name: value for name in names if (value := given.pop(name)) is not None}
            command(**given, chosen={**chosen, "command": shlex.join(["amc-hw", *sys.argv[1:]])})

        shown: list[inspect.Parameter] = []
        for name, parameter in own.items():
            shown += made if name == "chosen" else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        return run

    return decorate


def all_but(*left_out: str) -> list[str]:
    """Return the names of all settings but some."""
    return [name for name in SETTINGS if name not in left_out]


def example(text: str) -> str:
    """Return an example of a command for the end of its help."""
    return f"Example: {text}"


def with_options(message: str) -> str:
    """Return a message with options where it names arguments: ``data_root=DIR`` is ``--data-root DIR``."""
    spelled = _ARGUMENT.sub(lambda match: dashed(match[1]) + " " * match[0].endswith("="), message)
    return re.sub(r"(--[a-z-]+) (?=[.,;:)]*(\s|$))", r"\1", spelled)


def _parameter(name: str, changed: dict[str, Any]) -> inspect.Parameter:
    value, kind = changed.pop("default", DEFAULTS[name]), changed.pop("kind", None) or _kind(SETTINGS[name])
    value = None if value in ((), {}) else value
    shown: Any = kind if value is not None else kind | None
    annotation: Any = Annotated[shown, option(name, **changed)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=annotation)


def _kind(field: FieldInfo) -> Any:
    """Return what one option gives: the field's type, a path for a file, a list for texts."""
    if ABSOLUTE in field.metadata:
        return Path
    if COMMAS in field.metadata or get_origin(field.annotation) is Literal:
        return str
    if get_origin(field.annotation) in (tuple, dict):
        return list[str]
    if isinstance(field.annotation, UnionType):
        return next(kind for kind in get_args(field.annotation) if kind is not NoneType)
    return field.annotation
