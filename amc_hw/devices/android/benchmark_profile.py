"""Operator times out of benchmark_model's op profile: tables on stdout or in a csv file, and the proto."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amc_hw.devices.android.benchmark_statistics import (
    BenchmarkLogError,
    close,
    damaged,
    number,
    read_statistics,
    shown,
    whole,
)
from amc_hw.errors import DeviceError

REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:"
INITIALIZATION = "Profiling Info for Benchmark Initialization:"

_PREFIX = re.compile(r"\s*(?:native : \S+:[0-9]+ )?(?:(?:INFO|WARN|ERROR|FATAL): )?\s*")
_TITLE = re.compile(r"=+ Run Order =+")
_NODES = re.compile(r"([0-9]{1,9}) nodes observed")
_NEEDED = ("node type", "avg ms", "%", "cdf%", "times called", "name")


@dataclass(frozen=True)
class OperatorTime:
    """One operator of the network, in run order.

    Attributes:
        type: TFLite's operator or the delegate's kernel, for example ``CONV_2D``.
        name: what the profile calls it, mostly the tensors it writes.
        avg_us: its share of one inference: microseconds a call times calls; 0.0 where the print rounds
            to zero.
        times_called: calls in one inference.
        start_us: when it started within the inference; None in builds after 2022.
    """

    type: str
    name: str
    avg_us: float
    times_called: int
    start_us: float | None = None


@dataclass(frozen=True)
class Profile:
    """Operators, the inferences they were averaged over, and what is odd about them."""

    operators: tuple[OperatorTime, ...]
    runs: int
    problems: tuple[str, ...] = ()


def contents(lines: Iterable[str]) -> list[str]:
    """Return the lines without their ends and the ``INFO: `` or ``native : file.cc:1 `` before them."""
    return [_PREFIX.sub("", line, count=1).rstrip() for line in lines]


def read_profile(lines: Sequence[str]) -> Profile | None:
    """Read the ``Run Order`` table of the regular runs: with tabs (stdout), blanks in their place, or commas (csv).

    Builds since 2020 print two tables: the one after the line `REGULAR` is read. Older builds print one.

    Args:
        lines: the log's `contents`.

    Returns:
        The profile, or None where the log has no op profile at all.

    Raises:
        BenchmarkLogError: the table is incomplete or damaged, or does not add up to its own total.
    """
    title = _find_table(lines)
    if title is None:
        return None
    columns, separator = _columns(lines[title + 1] if title + 1 < len(lines) else "")
    end = title + 2
    while end < len(lines) and lines[end].strip() and not lines[end].startswith("="):
        end += 1
    rows = [_row(line, columns, separator) for line in lines[title + 2 : end]]
    total, nodes = _closing_lines(lines, end)
    statistics = read_statistics(total.split(": ", 1)[1])
    if statistics is None or nodes != len(rows) or len({row["name"] for row in rows}) != nodes:
        raise BenchmarkLogError(
            f"the op table has {len(rows)} rows where the log says {nodes} nodes; take the log again."
        )
    return _operators(rows, statistics.avg_us, statistics.count)


def _find_table(lines: Sequence[str]) -> int | None:
    """Return where the title of the regular runs' table is."""
    titles = [i for i, line in enumerate(lines) if _TITLE.fullmatch(line)]
    marks = [i for i, line in enumerate(lines) if line == REGULAR]
    if len(marks) == 1:
        after = (i for i in range(marks[0] + 1, len(lines)) if lines[i] and "Primary graph" not in lines[i])
        title = next(after, None)
        if title in titles:
            return title
        raise BenchmarkLogError(f"no op table follows the line '{REGULAR}'; take the log again.")
    if marks or INITIALIZATION in lines or len(titles) > 1:
        raise BenchmarkLogError(
            f"{len(marks)} lines '{REGULAR}' where one must tell the tables apart; give one run's log."
        )
    signs = ("node type", "Number of nodes executed", "nodes observed")
    if not titles and any(sign in line for line in lines for sign in signs):
        raise BenchmarkLogError("the op table's title line 'Run Order' is missing; take the log again.")
    return titles[0] if titles else None


def _columns(header: str) -> tuple[list[str], str]:
    """Return the column titles, and what separates them: a tab, a comma, or blanks where tabs were replaced."""
    separator = "\t" if "\t" in header else " " if header.startswith("[") else ", "
    titles = re.findall(r"\[[^\]]*\]", header) if separator == " " else header.split(separator)
    columns = [name.strip().strip("[]").replace("_", " ").lower() for name in titles]
    if any(columns.count(name) != 1 for name in _NEEDED) or (columns[0], columns[-1]) != ("node type", "name"):
        raise damaged(header, "the op table's column titles are missing or damaged")
    return columns, separator


def _row(line: str, columns: list[str], separator: str) -> dict[str, str]:
    """Split one row; in csv the name's commas are printed as tabs, and the type may hold some."""
    if separator == "\t":
        fields = line.split(separator)
    elif separator == " ":  # types and names may hold blanks, numbers do not
        numbers = [r"([^\s%]+%)" if "%" in column else r"([^\s%]+)" for column in columns[1:-1]]
        found = re.fullmatch(r"\s+".join(["(.+?)", *numbers, "(.+)"]), line)
        fields = list(found.groups()) if found else []
    else:
        fields = line.rsplit(separator, len(columns) - 1)
        fields[-1] = fields[-1].replace("\t", ",")
    if len(fields) != len(columns):
        raise damaged(line, f"{len(fields)} columns of {len(columns)}")
    return {"line": line, **dict(zip(columns, (field.strip() for field in fields), strict=True))}


def _closing_lines(lines: Sequence[str], start: int) -> tuple[str, int]:
    """Return the table's ``Timings`` line and its number of nodes, which stand before the next table."""
    total = ""
    for line in lines[start:]:
        if line.startswith("Timings (microseconds): "):
            total = line
        elif nodes := _NODES.fullmatch(line):
            if total:
                return total, int(nodes[1])
            break
        elif _TITLE.fullmatch(line):
            break
    raise BenchmarkLogError("the op table's end ('Timings', 'nodes observed') is missing; take the log again.")


def _operators(rows: list[dict[str, str]], total_us: float, runs: int) -> Profile:
    """Turn rows into operators, and hold them against the running sum and the total."""
    operators: list[OperatorTime] = []
    problems, wrong, running, unseen_us = [], [], 0.0, 0.0
    for row in rows:
        line = row["line"]
        percent, cumulated = (_percent(row[column], line) for column in ("%", "cdf%"))
        running += percent
        if abs(cumulated - running) > 0.002 + 0.0005 * len(rows):
            raise damaged(line, f"a running sum of {cumulated} % where {running:.3f} % is due")
        avg_us = number(row["avg ms"], line) * 1000
        share_us = percent / 100 * total_us
        # "times called" is cut to a whole number: 0 is an operator that missed some runs, or ran only once.
        calls = whole(row["times called"], line) or (round(share_us / avg_us) if avg_us else 0)
        if not calls:
            problems.append(f"{row['name']} is left out: it did not run in every inference")
            unseen_us += share_us
            continue
        if abs(avg_us * calls - share_us) > 0.01 * share_us + 1e-5 * total_us + calls:
            wrong.append(damaged(line, f"{percent} % of the time where {avg_us * calls / total_us:.3%} is due"))
        start = number(row["start"], line) * 1000 if "start" in row else None
        if start is not None and operators and start < (operators[-1].start_us or 0.0):
            raise damaged(line, "a start before that of the operator above")
        operators.append(OperatorTime(row["node type"], row["name"], round(avg_us * calls, 6), calls, start))
    if not operators:
        raise BenchmarkLogError("the op profile has no operator that runs in every inference; take the log again.")
    sum_us = sum(operator.avg_us for operator in operators) + unseen_us
    if not close(sum_us, total_us) and abs(sum_us - total_us) > 0.01 * total_us + len(rows):
        raise BenchmarkLogError(
            f"the operators add up to {sum_us:.0f} us where their 'Timings' line says {total_us:.0f} us; "
            "take the log again."
        )
    if wrong:
        raise wrong[0]
    zeros = sum(operator.avg_us == 0 for operator in operators)
    if zeros:
        problems.append(f"{zeros} operators took less than the profile can show: their time reads 0")
    return Profile(tuple(operators), runs, tuple(problems))


def _percent(text: str, line: str) -> float:
    """Read ``4.928%``."""
    if not text.endswith("%"):
        raise damaged(line, f"{shown(text[:40])} is not a percentage")
    return number(text[:-1], line)


def read_profile_proto(data: bytes) -> Profile:
    """Read what ``--op_profiling_output_mode=proto`` writes; operators of the primary graph in run order.

    Raises:
        BenchmarkLogError: the bytes are no such message, hold no regular runs, or impossible values.
        DeviceError: LiteRT, which has the message's description, is not installed.
    """
    # Deferred: importing this package should not cost every command the time of loading protobuf.
    try:
        from ai_edge_litert.profiling_info_pb2 import BenchmarkProfilingData
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise DeviceError("reading an op profile needs LiteRT: pip install ai-edge-litert") from error

    try:
        message = BenchmarkProfilingData.FromString(data)
    except DecodeError as error:
        raise BenchmarkLogError(
            f"the op profile is no BenchmarkProfilingData message ({error}); fetch the file again."
        ) from error
    graphs = [graph for graph in message.runtime_profile.subgraph_profiles if graph.subgraph_index == 0]
    if len(graphs) != 1:
        raise BenchmarkLogError("the op profile holds no regular runs; fetch the file again.")
    operators, problems, runs, previous = [], [], 0, -1
    for op in graphs[0].per_op_profiles:
        times, label = op.inference_microseconds, f"{_text(op.node_type)} {_text(op.name)}"
        if times.count <= 0 or op.times_called < 0 or op.run_order <= previous:
            raise damaged(label, "an impossible count or run order")
        if not 0 <= times.min * times.count <= times.sum <= times.max * times.count:
            raise damaged(label, "a sum of times outside of [min, max]")
        previous = op.run_order
        if not op.times_called:
            problems.append(f"{op.name} is left out: it did not run in every inference")
            continue
        avg_us = times.sum / times.count * op.times_called
        operators.append(OperatorTime(_text(op.node_type), _text(op.name), avg_us, op.times_called))
        runs = max(runs, times.count // op.times_called)
    if not operators:
        raise BenchmarkLogError("the op profile has no operator that runs in every inference; fetch the file again.")
    return Profile(tuple(operators), runs, tuple(problems))


def _text(value: str | bytes) -> str:
    """Refuse text that is not UTF-8, which protobuf hands over as bytes."""
    if isinstance(value, bytes):
        raise BenchmarkLogError(f"the op profile holds a name that is no text ({shown(repr(value))}).")
    return value
