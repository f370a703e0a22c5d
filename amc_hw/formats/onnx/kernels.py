"""Which nodes of an ONNX file are one operator, and which kernel of ONNX Runtime's profile belongs to which.

The runtime names the kernel of fused nodes after one of them, or after a tensor that one of them wrote, with
words of its own around it: ``relu_1_nchwc``, ``fused node_conv2d``. The order of execution is the runtime's own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from onnx import NodeProto

from amc_hw.errors import DeviceError

LEADERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
SCALERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""What stands around the nodes of an integer file: the runtime runs a node with those before and behind it as one."""
_ACTIVATIONS = frozenset({"Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid"})

_ADDED = re.compile(r"^fused |_nchwc$|_nhwc$|_transformed$|_token_\d+$|/\w+Fusion/?$|_new_reshape$")
"""What the runtime's optimizers put around the name of a node or tensor."""


class Groups:
    """Puts the nodes of a file together that are one operator.

    An activation and an addition belong to the convolution or matrix product whose result they alone take; what
    dequantizes belongs to the node that reads its result, and what quantizes to the node whose result it takes. Those
    at the file's input and output are operators of their own.

    Args:
        nodes: in the order of execution; one that dequantizes has one reader at most.
        weights: names of the tensors that are stored in the file.
    """

    def __init__(self, nodes: Sequence[NodeProto], weights: Collection[str]) -> None:
        self.groups: list[list[NodeProto]] = []
        self._weights = weights
        self._readers = Counter(name for node in nodes for name in node.input)
        self._ends: dict[str, int] = {}  # the last tensor of a group that may still grow
        self._makers: dict[str, int] = {}
        self._scaled: dict[str, NodeProto] = {}  # what dequantizes, by its result, until that is read
        for node in nodes:
            self._add(node)

    def _add(self, node: NodeProto) -> None:
        if node.op_type == "DequantizeLinear" and self._readers[node.output[0]]:
            self._scaled[node.output[0]] = node
            return
        if node.op_type == "QuantizeLinear" and node.input[0] in self._makers:
            own = self._makers[node.input[0]]
            self.groups[own].append(node)
        else:
            own = self._operator_of(node)
            self.groups[own] += [self._scaled.pop(name) for name in node.input if name in self._scaled]
        self._makers.update(dict.fromkeys(node.output, own))

    def _operator_of(self, node: NodeProto) -> int:
        """Put a node to the operator whose result it alone takes, or begin another; return the operator's index."""
        activations = [name for name in node.input if name and name not in self._weights]
        may_follow = node.op_type in _ACTIVATIONS or (node.op_type == "Add" and len(activations) == 2)
        ends = (self._ends[name] for name in activations if name in self._ends and self._readers[name] == 1)
        lead = next(ends, None)
        if may_follow and lead is not None and not (node.op_type == "Add" and len(self.groups[lead]) > 1):
            self.groups[lead].append(node)
            if node.op_type == "Add":
                self._ends[node.output[0]] = lead
            return lead
        if node.op_type in LEADERS:
            self._ends[node.output[0]] = len(self.groups)
        self.groups.append([node])
        return len(self.groups) - 1


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
