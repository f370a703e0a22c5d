"""What a setting takes, said in words: pydantic's own are for programmers."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from amc_hw.errors import UsageError
from amc_hw.runs.names import listed

_BOUNDS = ((Ge, "ge", "from {} on"), (Gt, "gt", "over {}"), (Le, "le", "up to {}"), (Lt, "lt", "under {}"))

EXAMPLES = {"latency": "12ms", "macs": "150M", "params": "2M", "size": "500kB"}
"""An absolute budget of each kind."""


def budget_text(name: str, text: object) -> str:
    """Return a budget's text; raise UsageError where it is something else, such as a number without its unit."""
    if not isinstance(text, str):
        examples = f"{name}='0.5x', a share of the original's, or {name}='{EXAMPLES[name]}'"
        raise UsageError(f"{name}={text!r} is no text with a unit; write for example {examples}.")
    return text


def wanted(field: FieldInfo) -> str:
    """Return what a setting takes: ``it takes a number over 0 and up to 1 (smallest keep ratio of a group)``."""
    meaning = f" ({field.description})" if field.description else ""
    return f"it takes {_kind(field.annotation)}{_range(field)}{meaning}"


def _kind(annotation: Any) -> str:
    if isinstance(annotation, UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    if get_origin(annotation) is Literal:
        return listed(tuple(map(str, get_args(annotation))))
    if get_origin(annotation) is tuple:
        return "a list of texts"
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
    return names.get(annotation, "another kind of value")


def _range(field: FieldInfo) -> str:
    bounds = [
        words.format(getattr(bound, name))
        for kind, name, words in _BOUNDS
        for bound in field.metadata
        if isinstance(bound, kind)
    ]
    return f" {' and '.join(bounds)}" if bounds else ""
