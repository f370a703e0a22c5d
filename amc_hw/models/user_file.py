"""Models from a user's own file: ``path/to/file.py:function``."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from torch import nn

from amc_hw.errors import UsageError, in_one_line, unknown_name
from amc_hw.models.names import user_function
from amc_hw.models.user_modules import imported, project_of

T = TypeVar("T")


def call_function(name: str, **arguments: Any) -> nn.Module:
    """Run the file, call its function or class with those of the arguments that it takes, and return the model.

    Imports of the file's neighbours work, in the function, too; see `amc_hw.models.user_modules.imported`.

    Raises:
        UsageError: the file or the function is missing, fails, or does not return a torch.nn.Module.
    """
    with _opened(name) as (path, module, wanted):
        function = _function(path, module, wanted)
        model = function if isinstance(function, nn.Module) else function(**_taken(name, function, arguments))
    if not isinstance(model, nn.Module):
        raise UsageError(f"'{name}' must return a torch.nn.Module, but it returned {type(model).__name__}.")
    return model


def load_object(name: str, kinds: Callable[[object], bool], **arguments: Any) -> Any:
    """Run the file and return its object; a function or a class that is none itself is called to return it.

    Args:
        name: ``path/to/file.py:object``.
        kinds: whether an object is what is wanted.
        arguments: for the function, of which it gets those that it takes.

    Raises:
        UsageError: the file or the object is missing, or it fails.
    """
    with _opened(name) as (path, module, wanted):
        found = getattr(module, wanted, None)
        if found is None:
            raise _unknown(path, module, wanted, kinds)
        if callable(found) and (isinstance(found, type) or not kinds(found)):
            found = found(**_taken(name, found, arguments))
    return found


def require_function(name: str) -> None:
    """Raise UsageError unless the file can be run and has the function or class, which is not called."""
    with _opened(name) as (path, module, wanted):
        _function(path, module, wanted)


@contextmanager
def _opened(name: str) -> Iterator[tuple[Path, ModuleType, str]]:
    """Run a file; yield its path, what it became, and the name wanted of it; what fails meanwhile is a UsageError."""
    path, wanted = user_function(name)
    try:
        with imported(path) as module:
            yield path, module, wanted
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(f"'{name}' fails: {_fault(error, path)}") from error


def _function(path: Path, module: ModuleType, function_name: str) -> Callable[..., Any]:
    function = getattr(module, function_name, None)
    if not callable(function):
        raise _unknown(path, module, function_name, callable)
    return function  # type: ignore[no-any-return]


def _unknown(path: Path, module: ModuleType, wanted: str, kinds: Callable[[object], bool]) -> UsageError:
    """Return the error that names what a file has of some kinds, and its functions; what it imports is not its own."""
    names = [
        key
        for key, value in vars(module).items()
        if key[0] != "_" and (kinds(value) or callable(value)) and _is_own(value, module)
    ]
    return (
        unknown_name(f"function in {path}:", wanted, names)
        if names
        else UsageError(f"{path} has no function '{wanted}'.")
    )


def _is_own(value: object, module: ModuleType) -> bool:
    """Whether a module made a value: an object, or a function or class that is defined there."""
    return not hasattr(value, "__qualname__") or getattr(value, "__module__", None) == module.__name__


def _taken(name: str, function: Callable[..., Any], arguments: Mapping[str, T]) -> dict[str, T]:
    """Return those arguments that a function takes, and refuse one that needs others."""
    taken = inspect.signature(function).parameters
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    given = {key: value for key, value in arguments.items() if takes_all or key in taken}
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [
        key
        for key, each in taken.items()
        if each.default is inspect.Parameter.empty and each.kind not in variadic and key not in given
    ]
    if needed:
        raise UsageError(
            f"'{name}' needs {', '.join(needed)}, and is given {', '.join(arguments)} only; write a function without "
            "other parameters, or with defaults for them."
        )
    return given


def _fault(error: BaseException, path: Path) -> str:
    """Say where in the user's files something went wrong, what it was, and what to do."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}; correct the file."
    project = project_of(path)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{each.filename}, line {each.lineno}: " for each in frames if Path(each.filename).is_relative_to(project)]
    what = in_one_line(error, None)
    cure = "correct the file."
    if isinstance(error, ModuleNotFoundError):
        cure = "install it, or run this in the folder where the import works."
    elif isinstance(error, SystemExit):
        cure = "keep what ends a program under if __name__ == '__main__'."
    return f"{own[-1] if own else f'{path}: '}{what}; {cure}"
