"""Holds a run on an accelerator to it: what was left to the processor is an error that names the operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from amc_hw.devices.android.adb import Output
from amc_hw.devices.android.log_text import printed_lines
from amc_hw.devices.android.placement import Placement, read_left, read_placement
from amc_hw.devices.base import CpuFallbackError

MOST_NAMED = 8
"""Operators that a sentence names."""


def require_accelerated(output: Output, accelerator: str, file: Path, look: Callable[[], bytes | None]) -> Placement:
    """Return what an accelerator ran, which is everything.

    Args:
        output: of LiteRT's benchmark_model, which was told to leave nothing to the processor. One that failed for
            another reason passes.
        accelerator: ``gpu`` or ``npu``.
        file: the network's.
        look: asks the phone what would run where, and returns the ``ModelRuntimeDetails`` message, None where the
            program does not write it.

    Raises:
        CpuFallbackError: it took a part, or nothing.
    """
    placement = read_placement(printed_lines(output.stdout) + printed_lines(output.stderr), accelerator)
    if placement.is_whole or output.status > 1 or (output.status and not placement.is_told):
        return placement
    details = look()
    left = [] if details is None else read_left(details, accelerator)
    if details is not None and not left and not output.status:
        return placement
    raise CpuFallbackError(_sentence(placement, accelerator, file, left), file)


def _sentence(placement: Placement, accelerator: str, file: Path, left: Sequence[str]) -> str:
    if placement.taken:
        whole = f"the {accelerator} took {placement.taken} of {placement.total} operators of {file.name}"
    elif placement.is_told:
        whole = f"the {accelerator} took no operator of {file.name}"
    else:
        whole = f"nothing says that the {accelerator} took {file.name}"
    because = f" ({placement.cause})" if placement.cause else ""
    named = f" and left to the processor: {_listed(left)}" if left else ""
    reasons = f"; it says {_listed(placement.refused)}" if placement.refused else ""
    return (
        f"{whole}{because}{named}{reasons}; {_cure(placement, accelerator)}, change these operators, write the file in "
        "another precision, or measure the processor: delegate=xnnpack."
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _cure(placement: Placement, accelerator: str) -> str:
    """Return what helps where nothing was taken: mostly the maker's libraries are missing."""
    if accelerator == "npu" and not placement.taken:
        return "give the libraries of the NPU's maker (AMC_HW_NPU_LIBRARIES=DIR)"
    return "name another version (runtime=2.2.0)"
