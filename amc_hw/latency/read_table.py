"""Reads a latency table's file, and refuses everything that is not sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from amc_hw.errors import TableError, path_of
from amc_hw.latency.outdated import doubt_of, outdated
from amc_hw.latency.table import FORMAT, LEARNED, LatencyTable

_CURE = "move it away; a run measures its own again, else make it with: amc-hw profile, or amc-hw table import"


def load_table(path: Path) -> LatencyTable:
    """Read a table.

    Raises:
        TableError: the file is missing, cut short, of an unknown version, or has a missing or impossible value;
            the message names the place.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TableError(f"the latency table {path} does not exist; make it with: amc-hw profile") from error
    except IsADirectoryError as error:
        raise TableError(f"the latency table {path} is a folder; name a table's file, or a shipped table.") from error
    except OSError as error:
        raise TableError(
            f"cannot read the latency table {path}: {error.strerror or error}; check its path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is no text, so no latency table; make one with: amc-hw profile") from error
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is cut short or no JSON ({error}); {_CURE}") from error
    return parse_table(document, str(path))


def parse_table(document: Any, place: str) -> LatencyTable:
    """Check a table that was read as JSON; ``place`` names it in errors.

    Raises:
        TableError: see `load_table`.
    """
    if not isinstance(document, dict) or "format" not in document:
        raise TableError(f"{place} is no latency table (it has no 'format'); make one with: amc-hw profile")
    if type(document["format"]) is not int or not 1 <= document["format"] <= FORMAT:
        raise TableError(
            f"{place} has format {repr(document['format'])[:40]}; this version of amc-hw reads formats 1 to {FORMAT}: "
            "update amc-hw."
        )
    try:
        table = LatencyTable.model_validate(document, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = path_of(first["loc"]) or "its root"
        raise TableError(f"{place} has a bad value at {where}: {first['msg']}; {_CURE}") from error
    except UnicodeError as error:
        raise TableError(f"{place} holds text that is no Unicode; {_CURE}") from error
    carried = table.transfer is not None
    if table.transfer is not None and table.transfer.structure not in table.errors:
        raise TableError(f"{place} was transferred and does not say how far off it is; {_CURE}")
    if carried != (table.format == FORMAT) or any(entry.transferred > carried for entry in table.entries):
        raise TableError(
            f"{place} has format {table.format}; what was transferred, and it alone, has {FORMAT}; {_CURE}"
        )
    if not carried and (table.totals is not None) != (table.format == LEARNED):
        raise TableError(f"{place} has format {table.format}, whole networks' totals belong to format 3; {_CURE}")
    seen: set[tuple[str, int, int]] = set()
    for entry in table.entries:
        if entry.key in seen:
            raise TableError(f"{place} has the entry {entry.key} twice; {_CURE}")
        seen.add(entry.key)
    if table.format == 1 and not outdated(table.notes):
        models = [network.model for network in table.calibration]
        if doubt := doubt_of(table.method, table.fingerprint.runtime, table.fingerprint.threads, models, place):
            table.note(doubt)
        else:
            table.format = 2
    return table
