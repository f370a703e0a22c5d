"""The names of timm's networks, read from its sources: it takes seconds to import, and a wrong name shall not."""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from amc_hw.errors import UsageError, unknown_name

TIMM = "timm:"
_REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)", re.MULTILINE)


def require_timm_name(name: str) -> str:
    """Return the name of timm's network behind the prefix, with its tag (``vit_tiny_patch16_224.augreg_in21k``) if any.

    Raises:
        UsageError: timm is not installed, or has no such network; a tag is not looked at.
    """
    bare = name.removeprefix(TIMM)
    architecture, _, _ = bare.partition(".")
    if architecture not in (known := _registered()):
        near = difflib.get_close_matches(architecture, known, n=9)
        if not near:  # there are more than a thousand
            raise UsageError(f"unknown model '{name[:80]}' for model=; timm.list_models() in Python lists them all.")
        raise unknown_name("model", name, [f"{TIMM}{each}" for each in near], "model")
    return bare


@cache
def _registered() -> frozenset[str]:
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("the models timm:NAME need an extra of amc-hw: pip install 'amc-hw[timm]'")
    files = [file for place in spec.submodule_search_locations for file in Path(place, "models").glob("*.py")]
    return frozenset(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))
