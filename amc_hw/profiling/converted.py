"""Conversions that are not done twice: a run's files, its table and its scores begin with the same few networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.registry import Format
from amc_hw.formats.template import MOST_VARIANTS
from amc_hw.pruning.surgery import policy_of
from amc_hw.tracing.inputs import tensors_of
from amc_hw.tracing.traced import TracedModel
from amc_hw.training.state import digest

MOST_KEPT = MOST_VARIANTS + 1
_Key = tuple[object, ...]
_KNOWN: WeakKeyDictionary[nn.Module, dict[_Key, bytes]] = WeakKeyDictionary()


def converted_once(kind: Format, traced: TracedModel) -> Format:
    """Return a format of float32 files that converts each version of a network once in this process.

    A version is known by its channels, its weights and the shapes of its inputs; what it does besides is the network's.
    """
    return replace(kind, convert=_remembering(kind, traced))


def _remembering(kind: Format, traced: TracedModel) -> Callable[[nn.Module, Any], bytes]:
    known = _KNOWN.setdefault(traced.model, {})

    def convert(version: nn.Module, example: Any) -> bytes:
        try:
            policy = policy_of(traced.model, traced.network, version)
        except UnsupportedModelError:
            return kind.convert(version, example)
        shapes = tuple(tuple(each.shape) for each in tensors_of(example))
        key = (kind.name, shapes, tuple(policy.items()), digest(version))
        if key not in known:
            content = kind.convert(version, example)
            while len(known) >= MOST_KEPT:
                del known[next(iter(known))]
            known[key] = content
        return known[key]

    return convert
