"""What the command line shows: progress bars with time left on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import logging
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from amc_hw.processes import is_first_process

ReportProgress = Callable[[int, int, str], None]

LOG_EVERY_S = 15.0

messages = Console(stderr=True)
results = Console()


_interrupts: list[int] = []


def watch_for_interrupts() -> None:
    """Remember a Ctrl-C besides raising it: a library that calls Python from C may swallow the exception."""
    _interrupts.clear()
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number: int, frame: object) -> None:
    _interrupts.append(number)
    raise KeyboardInterrupt


@contextmanager
def progress_bar() -> Iterator[ReportProgress]:
    """Show a bar for the work under way; a new kind of work (the total changes) gets a new bar.

    Where stderr is no terminal (a log file, a pipe), a line is written now and then instead. A Ctrl-C that was
    swallowed on the way is raised at the next report.
    """
    with _shown() as show:

        def report(done: int, total: int, text: str) -> None:
            if _interrupts:
                raise KeyboardInterrupt
            show(done, total, text)

        yield report


@contextmanager
def _shown() -> Iterator[ReportProgress]:
    if not is_first_process():
        yield lambda done, total, text: None
        return
    if not messages.is_terminal:
        yield _log_lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, transient=True) as bars:
        task = bars.add_task("starting", total=1)
        current: list[int] = [1]

        def report(done: int, total: int, text: str) -> None:
            if total != current[0]:
                current[0] = total
                bars.reset(task, total=total)
            bars.update(task, completed=done, total=total, description=text)

        yield report


def _log_lines() -> ReportProgress:
    said, stage = -math.inf, ""

    def report(done: int, total: int, text: str) -> None:
        nonlocal said, stage
        line = text.splitlines()[0]  # a search tells its policy on the lines below
        kind = re.sub(r"[0-9].*", "", line)
        if kind != stage or time.monotonic() - said >= LOG_EVERY_S:
            said, stage = time.monotonic(), kind
            say(f"{line} ({done}/{total})")

    return report


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False))  # noqa: T201 - rich would wrap long lines


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; every column but the first is right-aligned where it holds numbers."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        starts = [row[index][0] for row in rows if row[index]]
        numeric = bool(starts) and all(start.isdigit() or start in "+-\N{MINUS SIGN}\N{EN DASH}" for start in starts)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    results.print(table)


def answer(text: str) -> None:
    """Print what was asked for, a line on stdout."""
    results.print(text, markup=False, highlight=False, soft_wrap=True)


class _Sayer(logging.Handler):
    """Says what parts of amc-hw that print nothing have to tell."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one message."""
        say(record.getMessage())


def say_warnings() -> None:
    """Say from now on what all parts have to tell."""
    logger = logging.getLogger("amc_hw")
    logger.setLevel(logging.INFO)
    logger.handlers = [*(handler for handler in logger.handlers if not isinstance(handler, _Sayer)), _Sayer()]


def say(text: str) -> None:
    """Print a line beside the answer (a warning, an error, what is being done) on stderr."""
    messages.print(text, markup=False, highlight=False, soft_wrap=True)
