"""Keeps the messages of converters, from Python and from C++, off the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let nothing be printed that is no error, and leave the caller's logging as it was.

    Libraries add handlers to the root logger, which write to what stands for stderr here.
    """
    root = logging.getLogger()
    logging_level, handlers, level = root.manager.disable, list(root.handlers), root.level
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        _file_descriptor_silenced(2),
    ):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging_level)
            root.handlers[:] = handlers
            root.setLevel(level)


@contextlib.contextmanager
def _file_descriptor_silenced(number: int) -> Iterator[None]:
    kept = os.dup(number)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)
