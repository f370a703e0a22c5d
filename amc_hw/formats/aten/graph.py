"""A file of ATen calls (profilers/aten_network.py) as a graph: every call is an operator, because none is fused."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from amc_hw.errors import DeviceError, UnsupportedModelError
from amc_hw.formats.aten.stored import CallRecord, GraphRecord, pack, unpack
from amc_hw.formats.axes import Step, channels_second, laid_last
from amc_hw.formats.graph import Graph
from amc_hw.latency.operators import Operator, Shape

_KINDS = {
    "linear": "FULLY_CONNECTED",
    "relu": "RELU",
    "relu_": "RELU",
    "hardtanh": "RELU6",
    "hardtanh_": "RELU6",
    "hardswish": "HARD_SWISH",
    "hardswish_": "HARD_SWISH",
    "sigmoid": "LOGISTIC",
    "mean": "MEAN",
    "adaptive_avg_pool2d": "MEAN",
    "max_pool2d": "MAX_POOL_2D",
    "avg_pool2d": "AVERAGE_POOL_2D",
    "cat": "CONCATENATION",
    "add_": "ADD",
    "mul_": "MUL",
}
_MATRIX_PRODUCTS = frozenset({"linear", "bmm", "baddbmm", "matmul", "mm", "addmm", "scaled_dot_product_attention"})
_STRIDE, _PADDING, _DILATION, _GROUPS = 3, 4, 5, 6
"""Places of a convolution's arguments: (input, weight, bias, stride, padding, dilation, groups)."""


class AtenGraph(Graph):
    """One file of ATen calls.

    The integers among a call's arguments (a view's target, a convolution's groups) count as one more tensor.

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: this is no such file.
    """

    def __init__(self, content: bytes) -> None:
        self._graph, self._weights = unpack(content)
        try:
            self._calls = self._graph["calls"]
            self._sizes = {name: tuple(shape) for name, shape in self._graph["shapes"].items()}
        except KeyError as error:
            raise UnsupportedModelError(f"this is not a file of ATen calls: {error}") from error
        self._names: list[str] = [*self._sizes, *(f"arguments of {call['name']}" for call in self._calls)]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        second = channels_second([self._graph["input"]], map(self._step, self._calls))
        self._second = {self._numbers[name] for name in second}

    @property
    def kinds(self) -> Sequence[str]:
        """The operator of every call."""
        return [call["op"] for call in self._calls]

    def shapes(self) -> list[Shape]:
        """Shape of every tensor; arguments have none."""
        return [self._sizes.get(name, ()) for name in self._names]

    def name(self, tensor: int) -> str:
        """The tensor's name for people."""
        return self._names[tensor]

    def constant(self, tensor: int) -> NDArray[Any] | None:
        """See `Graph.constant`."""
        weight = self._weights.get(self._names[tensor])
        return None if weight is None else weight.reshape(-1)

    def integers(self, tensor: int) -> Shape | None:
        """See `Graph.integers`."""
        call = tensor - len(self._sizes)
        return tuple(_integers(self._calls[call]["args"])) if call >= 0 else None

    def tensors_of(self, index: int) -> list[int]:
        """See `Graph.tensors_of`."""
        call = self._calls[index]
        return [
            *(self._numbers[name] for name in _tensors(call["args"])),
            self._numbers[call["name"]],
            len(self._sizes) + index,
        ]

    def outputs_of(self, index: int) -> list[int]:
        """See `Graph.outputs_of`."""
        return [self._numbers[self._calls[index]["name"]]]

    def operator(self, index: int, shapes: Mapping[int, Shape] | Sequence[Shape]) -> Operator:
        """The operator at ``index`` when its tensors have the given shapes."""
        call = self._calls[index]
        tensors = _tensors(call["args"])
        filters = [shapes[self._numbers[name]] for name in tensors if name in self._weights]
        inputs = [self._numbers[name] for name in tensors if name not in self._weights]
        kind, packet = self._kind(call), call["op"].split(".")[1]
        weight = filters[0] if filters and packet in ("conv2d", "linear") else ()
        return Operator(
            kind,
            _attributes(packet, call["args"], weight),
            tuple(laid_last(number, self._second, shapes) for number in inputs),
            (laid_last(self._numbers[call["name"]], self._second, shapes),),
            math.prod(weight[1:]) if weight else 0,
        )

    def _step(self, call: CallRecord) -> Step:
        packet = call["op"].split(".")[1]
        tensors = _tensors(call["args"])
        reads = [name for name in tensors if name not in self._weights and len(self._sizes.get(name, ())) > 2]
        order = None
        if packet in ("permute", "transpose"):
            order = _order(packet, _integers(call["args"]), len(self._sizes[tensors[0]]))
        return Step(reads, [call["name"]], order, packet in _MATRIX_PRODUCTS)

    def _kind(self, call: CallRecord) -> str:
        """The operator's name in latency tables."""
        packet = str(call["op"]).split(".")[1]
        if packet == "conv2d":
            filters = self._sizes[call["args"][1]["tensor"]]
            grouped = len(call["args"]) > _GROUPS and call["args"][_GROUPS] > 1
            return "DEPTHWISE_CONV_2D" if grouped and filters[1] == 1 else "CONV_2D"
        return _KINDS.get(packet, packet.strip("_").upper())

    def owners(self, kernels: Sequence[str]) -> list[int | None]:
        """See `Graph.owners`; PyTorch's times come by the name of the call."""
        known = {call["name"]: index for index, call in enumerate(self._calls)}
        if any(kernel not in known for kernel in kernels):
            raise DeviceError("PyTorch reported calls that the network does not have; is it another network's profile?")
        return [known[kernel] for kernel in kernels]

    def packed(
        self,
        shapes: Mapping[int, Shape],
        integers: Mapping[int, Shape],
        values: Mapping[int, NDArray[Any]],
        left_out: Collection[int] = (),
    ) -> bytes:
        """See `Graph.packed`."""
        stands_for = self._left_out(left_out)
        calls: list[CallRecord] = [
            {**call, "args": _renamed(_replaced(call["args"], integers.get(len(self._sizes) + index)), stands_for)}
            for index, call in enumerate(self._calls)
            if call["name"] not in stands_for
        ]
        read = {name for call in calls for name in _tensors(call["args"])}
        stored = {self._names[tensor]: value for tensor, value in values.items()}
        weights = {name: stored.get(name, weight) for name, weight in self._weights.items() if name in read}
        known = {self._graph["input"], *weights, *(call["name"] for call in calls)}
        sizes: dict[str, Shape] = {**self._sizes, **{self._names[tensor]: shape for tensor, shape in shapes.items()}}
        graph: GraphRecord = {
            **self._graph,
            "output": stands_for.get(self._graph["output"], self._graph["output"]),
            "calls": calls,
            "shapes": {name: size for name, size in sizes.items() if name in known},
            "weights": list(weights),
        }
        return pack(graph, weights)

    def _left_out(self, indices: Collection[int]) -> dict[str, str]:
        """Return for the result of every call that is taken out of the file what who reads it reads instead."""
        made = {self._calls[index]["name"] for index in indices}
        stands_for: dict[str, str] = {}
        for index in sorted(indices):
            read = [name for name in _tensors(self._calls[index]["args"]) if name not in self._weights]
            outside = [name for name in read if name not in made]
            within = [stands_for[name] for name in read if name in stands_for]
            stands_for[self._calls[index]["name"]] = (outside or within)[0]
        return stands_for


def _order(packet: str, numbers: Sequence[int], axes: int) -> list[int]:
    """Return the order of axes that a permutation gives, or the exchange of two of them."""
    if packet == "permute":
        return [number % axes for number in numbers]
    order = list(range(axes))
    one, other = (number % axes for number in numbers)
    order[one], order[other] = other, one
    return order


def _tensors(argument: Any) -> list[str]:
    """Names of the tensors among a call's arguments, in order."""
    if isinstance(argument, dict):
        return [argument["tensor"]]
    return [name for part in argument for name in _tensors(part)] if isinstance(argument, list) else []


def _is_integer(argument: Any) -> bool:
    return isinstance(argument, int) and not isinstance(argument, bool)


def _integers(argument: Any) -> list[int]:
    """Integers among a call's arguments, in order."""
    if isinstance(argument, list):
        return [number for part in argument for number in _integers(part)]
    return [argument] if _is_integer(argument) else []


def _replaced(argument: Any, integers: Iterable[int] | None) -> Any:
    """Put other integers, if there are any, into a call's arguments."""
    return argument if integers is None else _with_next(argument, iter(integers))


def _with_next(argument: Any, integers: Iterator[int]) -> Any:
    if isinstance(argument, list):
        return [_with_next(part, integers) for part in argument]
    return next(integers) if _is_integer(argument) else argument


def _renamed(argument: Any, names: Mapping[str, str]) -> Any:
    """Put other tensors into a call's arguments."""
    if isinstance(argument, list):
        return [_renamed(part, names) for part in argument]
    if isinstance(argument, dict):
        return {"tensor": names.get(argument["tensor"], argument["tensor"])}
    return argument


def _attributes(packet: str, arguments: Sequence[Any], weight: Shape) -> tuple[str, ...]:
    """Options that decide which kernel runs, written as for TFLite."""
    if packet == "conv2d":
        stride, padding, dilation = (
            next(iter(_integers(arguments[place])), default) if len(arguments) > place else default
            for place, default in ((_STRIDE, 1), (_PADDING, 0), (_DILATION, 1))
        )
        return (
            f"k={weight[2]}x{weight[3]}",
            f"s={stride}",
            *([f"d={dilation}"] if dilation != 1 else []),
            "pad=same" if padding else "pad=valid",
        )
    if packet in ("max_pool2d", "avg_pool2d"):
        window = _integers(arguments[1])[0]
        return (f"k={window}", f"s={next(iter(_integers(arguments[2] or [])), window)}")
    return ()
