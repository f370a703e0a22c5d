"""The files of a run as values: a record is written and read by the same model, and damage is told in one way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from amc_hw.errors import RunFolderError
from amc_hw.runs.files import append_line, damaged, read_json, read_lines, write_json, write_text
from amc_hw.runs.records import FORMAT, Episode, Facts, FileRecord, Header, Record

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

    def recorded(self) -> int:
        """Return how many episodes there are."""
        return max(0, len(read_lines(self.path)) - 1)

    def read(self, *, mend: bool = True) -> tuple[Header | None, list[Episode]]:
        """Return the first line, or None where there is none yet, and the episodes.

        Args:
            mend: take what a kill left of a last line out of the file; not while a search may be writing it.

        Raises:
            RunFolderError: the log is damaged, or of another format.
        """
        lines = read_lines(self.path, mend=mend)
        if not lines:
            return None, []
        header = checked(Header, lines[0], self.path, 1)
        return header, [checked(Episode, line, self.path, n) for n, line in enumerate(lines[1:], start=2)]


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
        field = ".".join(map(str, first["loc"])) or ("the root" if line is None else "")
        raise damaged(path, first["msg"], field, line) from error
