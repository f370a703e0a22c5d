"""Which kernel of ONNX Runtime's profile belongs to which operator of the ONNX file.

The runtime names the kernel of fused nodes after one of them, or after a tensor that one of them wrote, with
words of its own around it: ``relu_1_nchwc``, ``fused node_conv2d``. The order of execution is the runtime's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from onnx import NodeProto

from amc_hw.errors import DeviceError

_ADDED = re.compile(r"^fused |_nchwc$|_nhwc$|_transformed$|_token_\d+$")
"""What the runtime's optimizers put around the name of a node or tensor."""


def owners(groups: Sequence[Sequence[NodeProto]], kernels: Sequence[str]) -> list[int | None]:
    """Return for every kernel the index of its operator.

    A kernel of no operator (a change of the memory's layout) is counted to the operator that ran before it, at the
    beginning to the one that runs after it; None only if there is neither.

    Args:
        groups: the nodes of each operator.
        kernels: ``name of the node`` as the runtime reports it, in the order of execution.

    Raises:
        DeviceError: most kernels fit no operator, because the provider runs many as one, or this is another network.
    """
    known: dict[str, int] = {}
    for index, group in enumerate(groups):
        for node in group:
            for name in (node.name, *node.output):
                known.setdefault(name, index)
    found: list[int | None] = []
    strangers = 0
    for kernel in kernels:
        name = kernel
        while name not in known and (shorter := _ADDED.sub("", name)) != name:
            name = shorter
        strangers += name not in known
        found.append(known.get(name, found[-1] if found else None))
    if strangers * 2 > max(1, len(kernels)):
        raise DeviceError(
            f"ONNX Runtime reported {len(kernels)} kernels of which {strangers} fit no operator of the network; "
            "a provider that runs a whole network as one kernel has no latency table, only amc-hw benchmark."
        )
    first = next((owner for owner in found if owner is not None), None)
    return [first if owner is None else owner for owner in found]
