"""The names of timm's networks, read from its sources: it takes seconds to import, and a wrong name shall not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from amc_hw.errors import UsageError, common_start

TIMM = "timm:"
ALIKE = 4  # first characters that names have in common where one may be meant by the other
_REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)", re.MULTILINE)


def require_timm_name(name: str) -> str:
    """Return the name of timm's network behind the prefix, with its tag (``vit_tiny_patch16_224.augreg_in21k``) if any.

    Raises:
        UsageError: timm is not installed, or has no such network; a tag is not looked at.
    """
    bare = name.removeprefix(TIMM)
    architecture, _, _ = bare.partition(".")
    if architecture not in (known := _registered()):
        near = [f"'{TIMM}{each}'" for each in _near(architecture, known)]
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() in Python lists them all."
        raise UsageError(f"unknown model '{name[:80]}' for model=; {hint}")
    return bare


def _near(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that are most alike, and before them the shortest of those that begin most alike."""
    names = sorted(known, key=lambda other: (-common_start(name, other), len(other), other))
    begins = [other for other in names[:1] if common_start(name, other) >= ALIKE]
    return list(dict.fromkeys([*begins, *difflib.get_close_matches(name, names, n=2)]))


@cache
def _registered() -> frozenset[str]:
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("the models timm:NAME need an extra of amc-hw: pip install 'amc-hw[timm]'")
    files = [file for place in spec.submodule_search_locations for file in Path(place, "models").glob("*.py")]
    return frozenset(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))
