"""The files of a run as values: a record is written and read by the same model, and damage is told in one way."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from amc_hw.errors import RunFolderError, path_of
from amc_hw.runs.files import append_line, damaged, read_json, read_lines, readable_lines, write_json, write_text
from amc_hw.runs.records import FORMAT, Episode, FileRecord, Header, Record
from amc_hw.runs.values import Facts

_LOG = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)
F = TypeVar("F", bound=FileRecord)


@dataclass(frozen=True)
class RecordFile(Generic[F]):
    """A file that holds one record.

    Attributes:
        path: of the file.
        kind: what it holds.
    """

    path: Path
    kind: type[F]

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return self.path.exists()

    def read(self) -> F:
        """Return what the file holds.

        Raises:
            WrongRunError: the file is missing.
            RunFolderError: it is damaged, or of another format.
        """
        return checked(self.kind, read_json(self.path), self.path)

    def find(self) -> F | None:
        """Return what the file holds, or None where it is missing; see `read`."""
        return self.read() if self.exists() else None

    def write(self, record: FileRecord) -> None:
        """Replace the file in one step; raise RunFolderError where the disk refuses."""
        write_json(self.path, record.document())


@dataclass(frozen=True)
class LinesFile(Generic[R]):
    """A file that holds one record in each line.

    Attributes:
        path: of the file.
        kind: what a line holds.
    """

    path: Path
    kind: type[R]

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return self.path.exists()

    def read(self) -> list[R]:
        """Return all records, none where the file is missing; raise RunFolderError where it is damaged."""
        return [checked(self.kind, line, self.path, n) for n, line in enumerate(read_lines(self.path), start=1)]

    def append(self, record: R) -> None:
        """Write one more line; raise RunFolderError where the disk refuses."""
        append_line(self.path, record.document())

    def drop_last(self) -> None:
        """Take the last line away."""
        lines = self.path.read_text().splitlines(keepends=True)
        write_text(self.path, "".join(lines[:-1]))


@dataclass(frozen=True)
class LoggedSearch:
    """What a log of a search holds.

    Attributes:
        path: of the log.
        header: its first line, or None where there is none yet.
        episodes: in order; one whose line is damaged or missing is not among them.
        unreadable: the numbers of damaged lines.
    """

    path: Path
    header: Header | None
    episodes: list[Episode]
    unreadable: tuple[int, ...] = ()

    def warn(self, consequence: str) -> None:
        """Say which lines are damaged, if any are, and what becomes of what they held."""
        if self.unreadable:
            lines = ", ".join(map(str, self.unreadable))
            _LOG.warning("%s has damaged lines (%s): %s.", self.path, lines, consequence)


@dataclass(frozen=True)
class EpisodeLog:
    """The log of a search: what it depends on in the first line, then one line for each episode.

    Attributes:
        path: of the file.
    """

    path: Path

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return self.path.exists()

    def begin(self, settings: Facts) -> None:
        """Write the first line."""
        append_line(self.path, Header(format=FORMAT, settings=settings).document())

    def append(self, episode: Episode) -> None:
        """Write an episode and push it to the disk; raise RunFolderError where that refuses."""
        append_line(self.path, episode.document())

    def insert(self, episode: Episode) -> None:
        """Put an episode's line back between those before and after it."""
        found = self.read()
        if found.header is not None:
            self.rewrite(found.header, sorted([*found.episodes, episode], key=lambda each: each.episode))

    def rewrite(self, header: Header, episodes: Sequence[Episode]) -> None:
        """Replace the log in one step."""
        lines = (json.dumps(line.document(), allow_nan=False) + "\n" for line in (header, *episodes))
        write_text(self.path, "".join(lines))

    def recorded(self) -> int:
        """Return how many episodes there are."""
        return max(0, len(readable_lines(self.path)[0]) - 1)

    def read(self, *, mend: bool = True) -> LoggedSearch:
        """Return what the log holds; a line that is no JSON costs its own episode only.

        Args:
            mend: take what a kill left of a last line out of the file; not while a search may be writing it.

        Raises:
            RunFolderError: the log is none of a search's, of another format, or its first line is damaged.
        """
        lines, unreadable = readable_lines(self.path, mend=mend)
        if 1 in unreadable:
            raise RunFolderError(
                f"line 1 of {self.path} is damaged ({unreadable[1]}), without which its episodes cannot be told from "
                "another search's; move it away to search anew, or choose another run folder."
            )
        if not lines:
            return LoggedSearch(self.path, None, [])
        header = checked(Header, lines.pop(1), self.path, 1)
        episodes = [checked(Episode, line, self.path, n) for n, line in lines.items()]
        for (number, _), one, other in zip(list(lines.items())[1:], episodes, episodes[1:], strict=False):
            if one.episode >= other.episode:
                raise damaged(self.path, "its episodes are not in order", line=number)
        return LoggedSearch(self.path, header, episodes, tuple(unreadable))


def checked(kind: type[R], document: object, path: Path, line: int | None = None) -> R:
    """Return a document, or one line of a file, as a record.

    Raises:
        RunFolderError: it has another format, or not the fields that it needs.
    """
    found = document.get("format") if isinstance(document, dict) else None
    if "format" in kind.model_fields and isinstance(found, int) and found != FORMAT:
        raise RunFolderError(
            f"{path} has format {found}, and this version reads format {FORMAT}; use the one that wrote it, or choose "
            "another run folder."
        )
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = path_of(first["loc"]) or ("the root" if line is None else "")
        raise damaged(path, first["msg"], field, line) from error
