"""What is told of work under way: its stage, how much of it is done, and what changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Update:
    """One word about the work.

    Attributes:
        stage: the kind of work; the same words as long as it lasts.
        done: how much of it is done.
        total: how much of it there is; 1 where nobody knows.
        note: what changes within the stage: a candidate's number, the best policy so far. A search's has two lines.
        part: which of several pieces of work this belongs to (``round 1 of 3``), or nothing.
    """

    stage: str
    done: int = 0
    total: int = 1
    note: str = ""
    part: str = ""

    @property
    def piece(self) -> tuple[str, str, int]:
        """What this is a share of: each stage, and each total, is a piece of work of its own."""
        return self.part, self.stage, self.total

    @property
    def text(self) -> str:
        """All of it for people."""
        return ": ".join(words for words in (self.part, self.stage, self.note) if words)


class Progress:
    """Passes on how far the work is.

    Args:
        listener: is given every update; without one nobody listens.
        part: see `Update`.
    """

    def __init__(self, listener: Callable[[Update], None] | None = None, part: str = "") -> None:
        self._listener = listener
        self._part = part

    def __call__(self, stage: str, done: int = 0, total: int = 1, note: str = "") -> None:
        """Tell how far a stage is; see `Update`."""
        if self._listener is not None:
            self._listener(Update(stage, done, total, note, self._part))

    def within(self, part: str) -> Progress:
        """Return the progress of one of several pieces of work."""
        return Progress(self._listener, ", ".join(words for words in (self._part, part) if words))

    def piece(self, stage: str, number: int, count: int, note: str = "") -> Progress:
        """Return the progress of one of several equal pieces of a stage, counted from 0: it moves the stage's own."""

        def tell(update: Update) -> None:
            self(stage, number * update.total + update.done, count * update.total, note)

        return Progress(tell)

    def after(self, action: Callable[[], None]) -> Progress:
        """Return a progress that does something before it tells anything."""

        def act_and_tell(update: Update) -> None:
            action()
            if self._listener is not None:
                self._listener(update)

        return Progress(act_and_tell, self._part)


SILENT = Progress()
"""For work that nobody watches."""
