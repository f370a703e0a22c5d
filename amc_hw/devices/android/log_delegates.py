"""Which delegate ran a network by benchmark_model's log; one that silently left it to the CPU is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence

from amc_hw.devices.android.benchmark_statistics import BenchmarkLogError, shown
from amc_hw.devices.android.litert_log import is_litert_log
from amc_hw.devices.android.placement import read_placement

_REQUESTED = re.compile(r"Use (gpu|nnapi|hexagon|xnnpack)( ?): \[(?:1|true)\]", re.IGNORECASE)
_APPLIED = re.compile(r"(?:Explicitly a|A)pplied (\w+) delegate(?:, and the model graph will be (\w+) executed.*|\.)?")
_NOT_EXECUTED = re.compile(r"Though (\w+) delegate is explicitly applied, the model graph will not be executed.*")
_UNSUPPORTED = re.compile(r"(\w+) acceleration is unsupported on this platform.*")
_DEFAULT = re.compile(r"Created TensorFlow Lite (XNNPACK) delegate for CPU\.")


def delegate_of(lines: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return which delegate executed the network, None where the log names none, and what is odd about it.

    Args:
        lines: of the log, its `contents`, standard error among them.

    Raises:
        BenchmarkLogError: it left the network or a part of it to the CPU.
    """
    applied: list[str] = []
    requested: dict[str, str] = {}
    default, problems = None, []
    for line in lines:
        if lost := _UNSUPPORTED.fullmatch(line) or _NOT_EXECUTED.fullmatch(line):
            raise BenchmarkLogError(
                f"the network ran without {lost[1]}, which says {shown(line)}; use another build or delegate."
            )
        if found := _APPLIED.fullmatch(line):
            applied.append(found[1])
            if found[2] not in (None, "completely"):
                if found[1].upper() != "XNNPACK":
                    refused = "; ".join(read_placement(lines, "gpu").refused)
                    raise BenchmarkLogError(
                        f"a part of the network ran on the CPU instead of {found[1]}{f' ({refused})' * bool(refused)}; "
                        "use another delegate."
                    )
                problems.append("a part of the network ran without XNNPACK")
        elif asked := _REQUESTED.fullmatch(line):
            requested[asked[1].upper()] = asked[2]
        elif _DEFAULT.fullmatch(line):
            default = "XNNPACK"
    applied += _accelerators(lines)
    for name, space in requested.items():
        if name not in (known.upper() for known in applied):
            if not space:
                raise BenchmarkLogError(f"the log does not say that {name} was applied; give stdout and stderr whole.")
            # The 2018 form ("Use nnapi : [1]") never says what became of the request.
            applied.append(name)
            problems.append(f"{name} was asked for; this old log does not say whether it was used")
    return " + ".join(applied) or default, problems


def _accelerators(lines: Sequence[str]) -> list[str]:
    """Return which accelerator of LiteRT ran the network; refuse one that left a part to the CPU."""
    if not is_litert_log(lines):
        return []
    placed = {name: read_placement(lines, name) for name in ("gpu", "npu")}
    for name, placement in placed.items():
        if placement.taken and not placement.is_whole:
            refused = "; ".join(placement.refused)
            raise BenchmarkLogError(
                f"{placement.total - placement.taken} of {placement.total} operators ran on the CPU instead of "
                f"{name.upper()}{f' ({refused})' * bool(refused)}; use another delegate."
            )
    return [name.upper() for name, placement in placed.items() if placement.is_whole]
