"""Which kernel of ExecuTorch's event trace is of which operator.

profilers/time_executorch.py names a kernel ``INSTRUCTION NAME``: by its place among the program's calls and by the name
that XNNPACK, or ExecuTorch, gives it.
"""

from __future__ import annotations

from collections.abc import Sequence

from amc_hw.errors import DeviceError
from amc_hw.formats.align import align
from amc_hw.latency.operators import Operator


def owners(operators: Sequence[Operator], places: Sequence[int], kernels: Sequence[str]) -> list[int | None]:
    """Return for every kernel the index of its operator.

    Args:
        operators: of the network, in the order of execution.
        places: the call that each of them is in.
        kernels: as the profiler names them, in the order of execution.

    Raises:
        DeviceError: most kernels of a call fit no operator of it, or it is no call of the network.
    """
    own: dict[int, list[int]] = {}
    for index, place in enumerate(places):
        own.setdefault(place, []).append(index)
    names: dict[int, list[str]] = {}
    for kernel in kernels:
        number, _, name = kernel.partition(" ")
        names.setdefault(int(number) if number.isdecimal() else -1, []).append(name)
    if strangers := names.keys() - own.keys():
        raise DeviceError(
            f"ExecuTorch reported kernels of {len(strangers)} calls that the network does not have; is it another "
            "network's profile?"
        )
    found: list[int | None] = []
    for place, called in names.items():
        indices = own[place]
        if len(indices) == 1:
            found += indices * len(called)
            continue
        matches = align([operators[index] for index in indices], called)
        found += [indices[match or 0] for match in matches]
    return found
