"""A library's function, replaced for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def standing_in(module: ModuleType, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Let a function stand for one of a module's in the block; a version of it without that function stays as it is."""
    before = getattr(module, name, None)
    if before is None:
        yield
        return
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, before)
