"""The results of coverage.py for people: a table in Markdown, and a summary of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

EQUAL = 0.005  # of the original's MACs
COLUMNS = ("network", "input", "outcome", "layers left alone", "MACs left", "Torch-Pruning", "difference")
NO_RUN = "the network does not run without some of its channels"
REASONS = 3  # of layers left alone, in a row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a row for each network, with the reason where it fails or keeps layers whole."""
    with_files = any("files" in row for row in rows)
    columns = [*COLUMNS, *(["files"] if with_files else []), "why"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = _cells(row)
        cells[-1:] = [*([_files(row)] if with_files else []), cells[-1]]
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many are proven, how many computed something wrong unseen, and how they stand beside Torch-Pruning."""
    installed = [row for row in rows if row["outcome"] != "not installed"]
    outcomes = Counter(row["outcome"] for row in installed)
    stands = Counter(standing(row) for row in installed)
    absent = len(rows) - len(installed)
    others = ", ".join(f"{outcome}: {n}" for outcome, n in outcomes.most_common() if outcome not in ("proven", "wrong"))
    share = f" ({outcomes['proven'] / len(installed):.1%})" if installed else ""
    return (
        f"Traced and proven: {outcomes['proven']} of {len(installed)}{share}; silently wrong: {outcomes['wrong']}"
        f"{f'; {others}' if others else ''}{f'; not installed: {absent}' if absent else ''}.\n"
        f"MACs left beside Torch-Pruning: fewer {stands['fewer']}, equal {stands['equal']}, more {stands['more']}; "
        f"ours alone runs {stands['ours alone']}, Torch-Pruning's alone {stands['theirs alone']}, "
        f"neither {stands['neither']}.{_more(installed)}"
    )


def _more(rows: Sequence[dict[str, Any]]) -> str:
    """Name the networks of which more is left than by Torch-Pruning, and what one channel of every group leaves."""
    found = [row for row in rows if standing(row) == "more"]
    each = [f"{row['network']} {row['ours']:.2f}, not {row['theirs']:.2f}{_least(row)}" for row in found]
    return f"\nMore: {'; '.join(each)}." if each else ""


def _least(row: dict[str, Any]) -> str:
    return f" ({row['least']:.1%} with the fewest channels)" if "least" in row else ""


def standing(row: dict[str, Any]) -> str:
    """Return how a network stands beside Torch-Pruning: whether fewer MACs are left, equal ones or more."""
    ours, theirs = row.get("ours"), row.get("theirs")
    if ours is None or theirs is None:
        return "neither" if ours is theirs else "theirs alone" if ours is None else "ours alone"
    return "equal" if abs(ours - theirs) <= EQUAL else "fewer" if ours < theirs else "more"


def reasons(left_alone: dict[str, int]) -> str:
    """Return why layers stay whole, alike ones together, most frequent first."""
    alike: Counter[str] = Counter()
    for text, layers in left_alone.items():
        if "network's output" not in text:
            without_sizes = text.partition(" (")[0] if text.startswith(NO_RUN) else text
            alike[re.sub(r"'[^']*' \((\w+)\)", r"\1", without_sizes)] += layers
    shown = [f"{layers}: {text}" for text, layers in alike.most_common(REASONS)]
    return "; ".join([*shown, *(["..."] if len(alike) > REASONS else [])])


def _cells(row: dict[str, Any]) -> list[str]:
    left = row.get("left_alone")
    alone = "" if left is None else f"{sum(left.values())} of {row['layers']}"
    theirs = "" if row.get("theirs") is None else f"{row['theirs']:.2f}"
    ours = "" if row.get("ours") is None else f"{row['ours']:.2f}"
    difference = "" if row.get("difference") is None else f"{row['difference']:.0e}"
    said = [row["why"], reasons(left or {})]
    if row.get("theirs_why"):
        said.append(f"Torch-Pruning: {row['theirs_why']}")
    return [
        row["network"],
        "x".join(map(str, row.get("input", []))),
        row["outcome"],
        alone,
        ours,
        theirs,
        difference,
        ". ".join(text.rstrip(".") for text in said if text),
    ]


def _files(row: dict[str, Any]) -> str:
    found = row.get("files", "")
    return found if isinstance(found, str) else ", ".join(f"{name} {said}" for name, said in found.items())
