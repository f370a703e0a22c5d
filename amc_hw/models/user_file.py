"""Models from a user's own file: ``path/to/file.py:function``."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from amc_hw.errors import UsageError, unknown_name
from amc_hw.models.names import user_function


def call_function(name: str, **arguments: Any) -> nn.Module:
    """Run the file, call its function with those of the arguments that it takes, and return the model.

    Raises:
        UsageError: the file or the function is missing, fails, or does not return a torch.nn.Module.
    """
    function = _function(*user_function(name))
    try:
        taken = inspect.signature(function).parameters
        takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
        model = function(**{key: value for key, value in arguments.items() if takes_all or key in taken})
    except Exception as error:  # the user's code may raise anything
        raise UsageError(f"'{name}' failed with {type(error).__name__}: {error}.") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"'{name}' must return a torch.nn.Module, but it returned {type(model).__name__}.")
    return model


def _function(path: Path, function_name: str) -> Callable[..., Any]:
    module = _module(path)
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        if names:
            raise unknown_name(f"function in {path}:", function_name, names)
        raise UsageError(f"{path} has no function '{function_name}'.")
    return function  # type: ignore[no-any-return]


def _module(path: Path) -> ModuleType:
    # Registered under a name of its own, because dataclasses and pickling look their module up there.
    module_name = "amc_hw_user_file_" + path.resolve().as_posix().encode().hex()
    specification = importlib.util.spec_from_file_location(module_name, path)
    if specification is None or specification.loader is None:
        raise UsageError(f"{path} cannot be loaded as Python.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[module_name] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        del sys.modules[module_name]
        if isinstance(error, SyntaxError):
            raise UsageError(f"{path}, line {error.lineno}: {error.msg}; correct the file.") from error
        raise UsageError(f"{path} does not run ({type(error).__name__}: {error}); correct the file.") from error
    return module
