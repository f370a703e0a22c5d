"""What TensorFlow Lite's benchmark_model says about a run: its 2018, 2019 and today's forms, read strictly.

A missing line is an error, never a zero, and so are flags that the tool did not know, runs that were not
made, and a delegate that silently left the network to the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from amc_hw.devices.android.benchmark_profile import OperatorTime, Profile, contents, read_profile, read_profile_proto
from amc_hw.devices.android.benchmark_statistics import (
    BenchmarkLogError,
    NoLogError,
    Statistics,
    close,
    damaged,
    positive,
    read_statistics,
    shown,
    whole,
)
from amc_hw.devices.android.litert_log import check_results, is_litert_log, without_its_own
from amc_hw.devices.android.log_claims import Claims, read_claims
from amc_hw.devices.android.log_delegates import delegate_of
from amc_hw.devices.android.log_text import printed_lines

__all__ = ["BenchmarkLog", "BenchmarkLogError", "NoLogError", "OperatorTime", "Statistics", "parse_log"]

_RUNNING = re.compile(r"Running benchmark for (?:at least )?(\S+) iterations\b.*")
_SUMMARY = re.compile(r"(?:Average inference|Inference) timings in us: (.*)")
_WARMUP = ("Warmup (avg)", "Warmup")
_INFERENCE = ("Inference (avg)", "no stats", "Inference")
_OPTIONAL = ("Init", "First inference")
_INITIALIZED = re.compile(r"Initialized session in ([^\s]+?)(m?s)\.?")
_UNCONSUMED = re.compile(r".*Unconsumed cmdline flags: *(.*)")
_PROFILE_FILE = re.compile(r"(?:Op profiling output file\.|CSV File to export profiling data to): \[(.+)\]")
_FAILURE = re.compile(
    r"\s*(?:ERROR|FATAL): .*|.*(?:Didn't find op for builtin opcode|[Uu]nresolved custom op|Failed to ).*"
)


@dataclass(frozen=True)
class BenchmarkLog:
    """One run of benchmark_model; times in microseconds.

    Attributes:
        warmup: the warm-up phase, None where there was none.
        regular: the phase that counts.
        init_us: from start to ready, None in builds that do not say.
        first_inference_us: the cold first inference, None in builds before 2020 or without a warm-up.
        warmup_avg_us: as in the summary line, None without a warm-up.
        inference_avg_us: as in the summary line.
        operators: in run order, empty where nothing was profiled. In the 2018 form they cover warm-up and
            regular runs together.
        delegate: what executed the network ("XNNPACK", "GPU" ...), None where the log names none.
        litert: whether LiteRT's program printed it, and not TensorFlow Lite's.
        claims: what else the log says of how the network was run.
        problems: what a reader should know and what is no reason to refuse the log, one sentence each.
    """

    warmup: Statistics | None
    regular: Statistics
    init_us: float | None
    first_inference_us: float | None
    warmup_avg_us: float | None
    inference_avg_us: float
    operators: tuple[OperatorTime, ...] = ()
    delegate: str | None = None
    litert: bool = False
    claims: Claims = field(default_factory=Claims)
    problems: tuple[str, ...] = ()


def parse_log(
    stdout: str,
    *,
    stderr: str = "",
    profile: str | bytes | None = None,
    warmup_runs: int | None = None,
    runs: int | None = None,
) -> BenchmarkLog:
    """Read the log of one run of benchmark_model.

    Args:
        stdout: what the tool printed.
        stderr: what it printed there, if that was kept apart: the runtime's own messages.
        profile: content of ``--op_profiling_output_file``, a csv's text or a proto's bytes, where one was
            written.
        warmup_runs: runs that were asked for; the log's own request is checked without it, too.
        runs: same for the regular runs.

    Raises:
        BenchmarkLogError: the log is incomplete, damaged, of several runs, or tells of a failure, of unknown
            flags, of fewer runs than asked for, or of a delegate that left work to the CPU.
    """
    printed, printed_apart = printed_lines(stdout), printed_lines(stderr)
    lines, raw = contents(printed), printed + printed_apart
    errors = [line.strip() for line in raw if _FAILURE.fullmatch(line.rstrip())]
    _refuse_failures(raw, errors)
    both = lines + contents(printed_apart)
    delegate, problems = delegate_of(both)
    phases = _phases(lines, errors)
    for (requested, phase), asked, name in zip(phases, (warmup_runs, runs), ("warm-up", "regular"), strict=True):
        made, due = phase.count if phase else 0, max(requested, asked or 0)
        if made < due:
            raise BenchmarkLogError(f"only {made} of {due} {name} runs were made; raise --max_secs and run again.")
    warmup, regular = phases[0][1], phases[1][1]
    if regular is None:
        raise BenchmarkLogError("the log has no regular run; ask for some with --num_runs and run again.")
    if is_litert_log(both):
        return _litert_log(both, (warmup, regular), delegate, (*problems, *errors))
    summary, line = _summary(lines, errors)
    inference_avg_us = _checked(summary, _INFERENCE, regular.avg_us, line)
    warmup_avg_us = _checked(summary, _WARMUP, warmup.avg_us, line) if warmup else None
    first_us = None
    if warmup and "First inference" in summary:
        first_us = _checked(summary, ("First inference",), warmup.first_us, line)
    ops, profile_problems = _operators(lines, profile, warmup, regular)
    return BenchmarkLog(
        warmup=warmup,
        regular=regular,
        init_us=positive(summary["Init"], line) if "Init" in summary else _init_us(lines),
        first_inference_us=first_us,
        warmup_avg_us=warmup_avg_us,
        inference_avg_us=inference_avg_us,
        operators=ops,
        delegate=delegate,
        claims=read_claims(lines),
        problems=(*problems, *profile_problems, *errors),
    )


def _litert_log(
    lines: Sequence[str],
    phases: tuple[Statistics | None, Statistics],
    delegate: str | None,
    problems: Sequence[str],
) -> BenchmarkLog:
    """Return the log of LiteRT's benchmark_model, whose results are rounded: the statistics stand for them."""
    warmup, regular = phases
    check_results(lines, warmup, regular)
    operators, more = _operators(lines, None, warmup, regular)
    return BenchmarkLog(
        warmup=warmup,
        regular=regular,
        init_us=_init_us(lines),
        first_inference_us=warmup.first_us if warmup else None,
        warmup_avg_us=warmup.avg_us if warmup else None,
        inference_avg_us=regular.avg_us,
        operators=without_its_own(operators),
        delegate=delegate,
        litert=True,
        claims=read_claims(lines),
        problems=(*problems, *more),
    )


def _refuse_failures(raw: Sequence[str], errors: Sequence[str]) -> None:
    """Refuse runs that ignored a flag or say themselves that they failed."""
    for line in raw:
        if flags := _UNCONSUMED.fullmatch(line.rstrip()):
            raise BenchmarkLogError(
                f"benchmark_model does not know the flags '{flags[1]}'; leave them out or use another build."
            )
        if "Benchmarking failed" in line:
            raise BenchmarkLogError(
                f"the benchmark failed{_because(errors)}; see the log, and export the network again if it is damaged."
            )


def _because(errors: Sequence[str]) -> str:
    """Return the first reason that a log gives, for the end of a sentence."""
    return f": {shown(errors[0])}" if errors else ""


def _phases(lines: Sequence[str], errors: Sequence[str]) -> list[tuple[int, Statistics | None]]:
    """Return (runs asked for, statistics) of the warm-up and of the regular runs."""
    phases: list[tuple[int, Statistics | None]] = []
    asked: int | None = None
    for line in lines:
        if running := _RUNNING.fullmatch(line):
            if asked is not None:
                raise damaged(line, "a phase that starts before the one before it has ended")
            asked = whole(running[1], line)
        elif line.startswith("count="):
            if asked is None:
                raise damaged(line, "statistics without their 'Running benchmark for' line")
            phases.append((asked, read_statistics(line)))
            asked = None
    if len(phases) > 2:
        raise BenchmarkLogError(
            f"the log holds several runs: {len(phases)} statistics lines where there are two, "
            "warm-up and regular; split it into a file for each run."
        )
    if not phases and asked is None and not errors:
        raise NoLogError(
            "this is no output of benchmark_model: 0 statistics lines where there are two, warm-up and regular; keep "
            "the whole output (benchmark_model ... > log.txt 2>&1)."
        )
    if len(phases) != 2 or asked is not None:
        raise BenchmarkLogError(
            f"the log ends early: {len(phases)} statistics lines where there are two, "
            f"warm-up and regular{_because(errors)}; run again and keep the whole output "
            "(benchmark_model ... > log.txt 2>&1)."
        )
    return phases


def _summary(lines: Sequence[str], errors: Sequence[str]) -> tuple[dict[str, str], str]:
    """Return the summary line's pairs, and the line; some boards print it twice."""
    found = {line: match[1] for line in lines if (match := _SUMMARY.fullmatch(line))}
    if len(found) != 1:
        raise BenchmarkLogError(
            f"the log has {len(found)} lines 'Inference timings in us' where there is one{_because(errors)}; "
            "run again and keep the whole output of one run."
        )
    (line, pairs), *_ = found.items()
    summary = {name: value for name, _, value in (pair.partition(": ") for pair in pairs.split(", "))}
    wanted = (_WARMUP, _INFERENCE, *((name,) for name in _OPTIONAL))
    if len(summary) != len(pairs.split(", ")) or not summary.keys() <= {name for names in wanted for name in names}:
        raise damaged(line, "unknown or repeated names")
    if any(len(summary.keys() & set(names)) != 1 for names in (_WARMUP, _INFERENCE)):
        raise damaged(line, "no single warm-up and inference time")
    return summary, line


def _checked(summary: dict[str, str], names: Sequence[str], expected_us: float, line: str) -> float:
    """Return one of the summary's times, which must be that of the statistics line."""
    value = positive(next(summary[name] for name in names if name in summary), line)
    if not close(value, expected_us):
        raise damaged(line, f"a time other than the {expected_us:g} us of the statistics")
    return value


def _init_us(lines: Sequence[str]) -> float | None:
    """Return the time to start from ``Initialized session in 0.026466s`` (or in ms)."""
    for line in lines:
        if found := _INITIALIZED.fullmatch(line):
            return positive(found[1], line) * (1e3 if found[2] == "ms" else 1e6)
    return None


def _operators(
    lines: Sequence[str], profile: str | bytes | None, warmup: Statistics | None, regular: Statistics
) -> tuple[tuple[OperatorTime, ...], list[str]]:
    """Return the operators, from the profile's file where there is one, and what is odd about them."""
    file = next((named[1] for line in lines if (named := _PROFILE_FILE.fullmatch(line))), None)
    found: Profile | None
    if isinstance(profile, bytes):
        found = read_profile_proto(profile)
    else:
        found = read_profile(contents(printed_lines(profile)) if profile is not None else lines)
    if found is None:
        if "Enable op profiling: [1]" not in lines:
            return (), []
        if file is None or profile is not None:
            raise BenchmarkLogError("operators were profiled, but their table is missing; keep the whole output.")
        return (), [f"the operators' times are in {file}, which was not given"]
    both = regular.count + (warmup.count if warmup else 0)
    # Of the runs that LiteRT's program profiles, all of them, builds of 2025 miss one.
    if found.runs not in (regular.count, both) and not (is_litert_log(lines) and found.runs == both - 1):
        raise BenchmarkLogError(
            f"the op profile is of {found.runs} runs, the log of {regular.count}; give both of one benchmark."
        )
    problems = list(found.problems)
    covered = [regular] if found.runs == regular.count or not warmup else [warmup, regular]
    average_us = sum(phase.avg_us * phase.count for phase in covered) / sum(phase.count for phase in covered)
    sum_us = sum(operator.avg_us for operator in found.operators)
    if sum_us > 1.2 * average_us + 0.5 * len(found.operators):  # each is rounded to whole microseconds
        raise BenchmarkLogError(
            f"the profiled operators take {sum_us:.0f} us, the whole inference {average_us:.0f} us; "
            "give log and profile of one benchmark."
        )
    if abs(sum_us / average_us - 1) > 0.03:
        problems.append(f"the operators add up to {sum_us:.0f} us of {average_us:.0f} us an inference")
    return found.operators, problems
