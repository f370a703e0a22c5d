"""The C library's memory: every step of a training or an episode asks for the same large pieces again."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import lru_cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt's options, from glibc's malloc.h."""
KEPT = 2**30
"""Bytes that stay with the process when they are freed, instead of costing page faults later."""


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Have glibc keep freed memory, once for the process; tell whether it does.

    Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        return all(mallopt(option, KEPT) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
    return False
