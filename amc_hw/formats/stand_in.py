"""Something of a library's, replaced for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def standing_in(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Let a value or a function stand for one of a module's in the block; a version without it stays as it is."""
    before = getattr(module, name, None)
    if before is None:
        yield
        return
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
