"""The names of models, to be checked before anything heavy is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from amc_hw.errors import UsageError, unknown_name
from amc_hw.models.timm_names import TIMM, require_timm_name

TORCHVISION = "torchvision:"
_WIDTH = re.compile(r"(?P<name>.+)_(?P<width>\d+(\.\d+)?)")
_PATTERNS = (f"{TORCHVISION}NAME", f"{TIMM}NAME", "path/to/file.py:function")


@dataclass(frozen=True)
class Known:
    """A model of the zoo: the side in pixels that it was designed for, and whether its name may end in a width."""

    image_size: int
    has_width: bool = False


ZOO = {
    "mobilenet_v1": Known(224, has_width=True),
    "mobilenet_v1_cifar": Known(32, has_width=True),
    "mobilenet_v2": Known(224, has_width=True),
    "mobilenet_v2_cifar": Known(32, has_width=True),
    **dict.fromkeys(("plain20", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), Known(32)),
}


def is_user_file(name: str) -> bool:
    """Tell whether a model's name is that of a function in a user's file."""
    return name.endswith(".py") or ".py:" in name


def require_model_name(name: str, argument: str = "model") -> None:
    """Raise UsageError where there is no such model, as far as its name, given for an argument, alone tells."""
    if is_user_file(name):
        user_function(name)
    elif name.startswith(TIMM):
        require_timm_name(name)
    elif not name.startswith(TORCHVISION):
        zoo_name(name, argument)


def require_task_name(task: str, model: str) -> None:
    """Raise UsageError where there is no such task, as far as its name alone tells, or its model is of no file."""
    if not is_user_file(task):
        raise unknown_name("task", task, ["classify", "path/to/file.py:object"], "task")
    user_function(task)
    if not is_user_file(model):
        raise UsageError(f"with a task of your own the model is path/to/file.py:function, not model={model}.")


def zoo_name(name: str, argument: str = "model") -> tuple[str, float]:
    """Return the zoo's name and the width that a name, given for an argument, asks for.

    Raises:
        UsageError: there is no such model.
    """
    if name in ZOO:
        return name, 1.0
    match = _WIDTH.fullmatch(name)
    if match is None or match["name"] not in ZOO or not ZOO[match["name"]].has_width:
        raise unknown_name("model", name, [*ZOO, *_PATTERNS], argument)
    width = float(match["width"])
    if not 0.05 <= width <= 4:
        raise UsageError(f"the width of '{name}' must be from 0.05 to 4, for example {match['name']}_0.5.")
    return match["name"], width


def user_function(name: str) -> tuple[Path, str]:
    """Return the file and the function of ``path/to/file.py:function``; raise UsageError where the file is missing."""
    path, _, function = name.partition(".py:")
    if not function:
        raise UsageError(f"'{name}' names no function; write path/to/file.py:function.")
    file = Path(f"{path}.py").expanduser()
    if not file.is_file():
        raise UsageError(f"there is no file {file}; check the path before the colon.")
    return file, function
