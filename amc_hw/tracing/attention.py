"""Attention as the operators that it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def attention_by_parts() -> Iterator[None]:
    """Keep PyTorch from computing a whole attention, or encoder layer, as one operator in which nothing is seen."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
