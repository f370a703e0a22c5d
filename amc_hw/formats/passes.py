"""PyTorch's passes over a program, as short as one conversion on a CPU lets them be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import torch._export.utils as export_utils
import torch.export.exported_program as exported_program
import torch.fx.traceback as provenance
from torch._C import DispatchKey

from amc_hw.formats.stand_in import standing_in

_LOOK_UP = getattr(export_utils, "_materialize_cpp_cia_ops", None)
_STAND_INS: tuple[tuple[ModuleType, str, Any], ...] = (
    # Else all devices that PyTorch knows: some hundred operators get functions for them in every pass.
    (exported_program, "_BACKEND_KEYS_TO_OVERRIDE", [DispatchKey.CPU, DispatchKey.Meta]),
    (exported_program, "_AUTOGRAD_ALIAS_BACKEND_KEYS_TO_OVERRIDE", [DispatchKey.AutogradCPU, DispatchKey.AutogradMeta]),
)


@contextmanager
def short_passes() -> Iterator[None]:
    """Leave out of PyTorch's passes what a conversion has no use for, in the block or in a function decorated so.

    torch.export looks all composite operators up anew for every namespace of every pass, in case that some were
    registered meanwhile, registers functions for devices that the program is not on, and every node gets a copy of all
    that is known of where it comes from. Files stay the same. A version of PyTorch that does it in another way converts
    as it does.
    """
    with ExitStack() as stack:
        if _LOOK_UP is not None:
            _LOOK_UP()
            stack.enter_context(standing_in(export_utils, "_materialize_cpp_cia_ops", lambda: None))
        for module, name, value in _STAND_INS:
            stack.enter_context(standing_in(module, name, value))
        stack.enter_context(_shared_provenance())
        yield


@contextmanager
def _shared_provenance() -> Iterator[None]:
    """Let nodes share what is known of where they come from, which nobody changes; the copies grow with every pass."""
    source: Any = getattr(provenance, "NodeSource", None)
    if source is None or hasattr(source, "__deepcopy__"):
        yield
        return
    source.__deepcopy__ = lambda self, _: self
    try:
        yield
    finally:
        del source.__deepcopy__
