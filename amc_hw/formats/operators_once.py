"""PyTorch's operators, looked up once for a conversion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch._export.utils as export_utils

from amc_hw.formats.stand_in import standing_in

_LOOK_UP = getattr(export_utils, "_materialize_cpp_cia_ops", None)


@contextmanager
def operators_looked_up_once() -> Iterator[None]:
    """Let PyTorch look up its composite operators once in the block, or in a function decorated with this.

    torch.export looks all of them up anew for every namespace of every pass over a program, in case that some were
    registered meanwhile: a fifth of the conversion of a small network. A version of PyTorch without that function
    converts as it does.
    """
    if _LOOK_UP is None:
        yield
        return
    _LOOK_UP()
    with standing_in(export_utils, "_materialize_cpp_cia_ops", lambda: None):
        yield
