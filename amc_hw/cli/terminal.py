"""What the command line shows: progress bars with time left on stderr, tables and JSON on stdout."""

from __future__ import annotations

import functools
import json
import logging
import math
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amc_hw.cli.options import with_options
from amc_hw.policy import TOP1
from amc_hw.processes import is_first_process
from amc_hw.runs.progress import Progress, Update

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars

LOG_EVERY_S = 15.0

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
def progress_bar() -> Iterator[Progress]:
    """Show a bar for the work under way; each stage of it, and each total, begins a bar of its own.

    Where stderr is no terminal (a log file, a pipe), a line is written now and then instead. A Ctrl-C that was
    swallowed on the way is raised at the next update.
    """
    with _shown() as progress:
        yield progress.after(_raise_interrupt)


def _raise_interrupt() -> None:
    if _interrupts:
        raise KeyboardInterrupt


@contextmanager
def _shown() -> Iterator[Progress]:
    if not is_first_process():
        yield Progress()
        return
    if not _console(stderr=True).is_terminal:
        yield Progress(_LogLines())
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=_console(stderr=True), transient=True) as bars:
        yield Progress(_Bar(bars))


class _Bar:
    """One bar, begun anew for each piece of work."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=1)
        self._shown: tuple[str, str, int] | None = None

    def __call__(self, update: Update) -> None:
        if update.piece != self._shown:
            self._shown = update.piece
            self._bars.reset(self._task, total=update.total, completed=update.done)  # what was there tells no pace
        self._bars.update(self._task, completed=update.done, total=update.total, description=update.text)


class _LogLines:
    """A line for each stage as it begins, and another every now and then, with the time left."""

    def __init__(self) -> None:
        self._said, self._stage = -math.inf, ("", "")
        self._pace = _Pace()

    def __call__(self, update: Update) -> None:
        left = self._pace.left(update)
        stage = (update.part, update.stage)
        if stage != self._stage or time.monotonic() - self._said >= LOG_EVERY_S:
            self._said, self._stage = time.monotonic(), stage
            how_far = f"{update.done}/{update.total}" + (f", {left} left" if left else "")
            say(f"{update.text.splitlines()[0]} ({how_far})")  # a search's second line is a curve


class _Pace:
    """How fast the piece of work under way is."""

    def __init__(self) -> None:
        self._piece: tuple[str, str, int] | None = None
        self._began, self._first = 0.0, 0

    def left(self, update: Update) -> str:
        """Return the time left, or nothing where it is not known yet."""
        from amc_hw.report.numbers import duration

        if update.piece != self._piece:
            self._piece, self._began, self._first = update.piece, time.monotonic(), update.done
        done, missing = update.done - self._first, update.total - update.done
        if done <= 0 or missing <= 0:
            return ""
        seconds = max(1, round((time.monotonic() - self._began) / done * missing))
        return f"{seconds} s" if seconds < 60 else duration(seconds)


@functools.cache
def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False)  # paths may hold [brackets] and :words:


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False))  # noqa: T201 - rich would wrap long lines


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; every column but the first is right-aligned where it holds numbers."""
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        starts = [row[index][0] for row in rows if row[index]]
        numeric = bool(starts) and all(start.isdigit() or start in "+-\N{MINUS SIGN}\N{EN DASH}" for start in starts)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def answer(text: str) -> None:
    """Print what was asked for, a line on stdout."""
    _console().print(text, markup=False, highlight=False, soft_wrap=True)


class _Sayer(logging.Handler):
    """Says what parts of amc-hw that print nothing have to tell."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one message."""
        say(with_options(record.getMessage()))


def say_warnings() -> None:
    """Say from now on what all parts have to tell."""
    logger = logging.getLogger("amc_hw")
    logger.setLevel(logging.INFO)
    logger.handlers = [*(handler for handler in logger.handlers if not isinstance(handler, _Sayer)), _Sayer()]


def say(text: str) -> None:
    """Print a line beside the answer (a warning, an error, what is being done) on stderr."""
    _console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def of_part(metric: str) -> str:
    """Return what stands between a figure and the part of the data that it is on."""
    return "of" if metric == TOP1 else f"{metric} on"


def say_what_stays(run: Path) -> None:
    """Say that the files of a run's several devices are not made anew, and what makes them."""
    say(f"The devices' files stay as they were; write them anew with: amc-hw export --run {shlex.quote(str(run))}")
