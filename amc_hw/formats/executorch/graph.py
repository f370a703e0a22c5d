"""An ExecuTorch file as a graph: what XNNPACK runs of it node by node, and the calls of ExecuTorch's own kernels.

XNNPACK's maps are channels last, those outside of it channels first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary
from numpy.typing import NDArray

from amc_hw.errors import AmcHwError, UnsupportedModelError
from amc_hw.formats.executorch.delegate import ABSENT, ALIGNMENT, Delegate, Node, Value
from amc_hw.formats.executorch.kernels import owners
from amc_hw.formats.executorch.native import Call, Program
from amc_hw.formats.executorch.operators import call_kind, call_operator, channels_first, node_kind, node_operator
from amc_hw.formats.graph import Graph
from amc_hw.latency.operators import Operator, Shape

PROGRAM = -1


class Key(NamedTuple):
    """Names a tensor.

    Attributes:
        kind: ``value``; ``scales``, those of a value; ``integers``, those of the operator at ``number``.
        place: the call whose delegate has the value, or `PROGRAM`.
        number: of the value.
    """

    kind: str
    place: int
    number: int


@dataclass(frozen=True)
class Part:
    """One operator: a call of a kernel, or a node of the delegate that is called there."""

    place: int
    node: int = -1


class PteGraph(Graph):
    """One ExecuTorch file.

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: this is no ExecuTorch file, or it has control flow or another backend than XNNPACK.
    """

    def __init__(self, content: bytes) -> None:
        try:
            self._program = Program(deserialize_pte_binary(content))
            self._delegates = {
                place: Delegate(self._program.payload(call)) for place, call in enumerate(self._calls) if not call.name
            }
        except AmcHwError:
            raise
        except Exception as error:  # what flatbuffers and the package raise has no common class
            raise UnsupportedModelError(f"this is not an ExecuTorch file: {error}") from error
        self._first = {place: channels_first(delegate) for place, delegate in self._delegates.items()}
        self._parts = [part for place in range(len(self._calls)) for part in self._parts_of(place)]
        touched = [key for index in range(len(self._parts)) for key in self._keys_of(index) if key is not None]
        self._keys = list(dict.fromkeys(touched))
        self._numbers = {key: number for number, key in enumerate(self._keys)}

    @property
    def _calls(self) -> list[Call]:
        return self._program.calls

    def _parts_of(self, place: int) -> list[Part]:
        if place not in self._delegates:
            return [Part(place)]
        return [Part(place, node) for node in range(len(self._delegates[place].nodes))]

    def _node(self, index: int) -> tuple[Delegate, Node] | None:
        """Return the node that an operator is; None where it is a call of a kernel."""
        part = self._parts[index]
        if part.node < 0:
            return None
        return self._delegates[part.place], self._delegates[part.place].nodes[part.node]

    def _key(self, place: int, number: int) -> Key | None:
        """Return the key of a delegate's value; what goes in and out is a value of the program."""
        if number == ABSENT:
            return None
        external = self._delegates[place].values[number].external
        return (
            Key("value", place, number)
            if external is None
            else Key("value", PROGRAM, self._calls[place].values[external])
        )

    def _keys_of(self, index: int) -> list[Key | None]:
        place, found = self._parts[index].place, self._node(index)
        integers = Key("integers", PROGRAM, index)
        if found is None:
            return [*(Key("value", PROGRAM, each) for each in self._program.tensors(self._calls[place])), integers]
        delegate, node = found
        scaled = [each for each in node.inputs if delegate.values[each].scales]
        return [
            *(self._key(place, each) for each in node.ids),
            *(Key("scales", place, each) for each in scaled),
            integers,
        ]

    def _value(self, key: Key) -> Value | None:
        """Return a value of a delegate; None for one of the program."""
        return None if key.place == PROGRAM else self._delegates[key.place].values[key.number]

    @property
    def kinds(self) -> Sequence[str]:
        """XNNPACK's name of every node, and those of other kernels."""
        found = [self._node(index) for index in range(len(self._parts))]
        return [
            self._calls[part.place].name if each is None else each[1].kind
            for part, each in zip(self._parts, found, strict=True)
        ]

    def shapes(self) -> list[Shape]:
        """Shape of every tensor; integers have none."""
        return [self._shape(key) for key in self._keys]

    def _shape(self, key: Key) -> Shape:
        if key.kind == "integers":
            return ()
        value = self._value(key)
        if value is None:
            return self._program.shape(key.number)
        return (value.shape[value.quant["channel_dim"]],) if key.kind == "scales" else value.shape

    def name(self, tensor: int) -> str:
        """The tensor's name for people."""
        kind, place, number = self._keys[tensor]
        return f"{kind} {number}" if place == PROGRAM else f"{kind} {number} of call {place}"

    def integers(self, tensor: int) -> Shape | None:
        """See `Graph.integers`."""
        key = self._keys[tensor]
        if key.kind != "integers":
            return None
        found = self._node(key.number)
        call = self._calls[self._parts[key.number].place]
        return tuple(self._program.numbers(call) if found is None else found[1].numbers)

    def tensors_of(self, index: int) -> list[int]:
        """See `Graph.tensors_of`."""
        return [-1 if key is None else self._numbers[key] for key in self._keys_of(index)]

    def outputs_of(self, index: int) -> list[int]:
        """See `Graph.outputs_of`."""
        found, place = self._node(index), self._parts[index].place
        if found is None:
            return [self._numbers[Key("value", PROGRAM, each)] for each in self._program.outputs(self._calls[place])]
        return [self._numbers[key] for each in found[1].outputs if (key := self._key(place, each)) is not None]

    def constant(self, tensor: int) -> NDArray[Any] | None:
        """See `Graph.constant`."""
        key = self._keys[tensor]
        if key.kind == "integers":
            return None
        value = self._value(key)
        if value is None:
            return self._program.constant(key.number)
        buffer = value.scales if key.kind == "scales" else value.buffer
        if not buffer:
            return None
        content = self._program.content(self._delegates[key.place].key(buffer))
        return np.frombuffer(content, np.float32 if key.kind == "scales" else value.dtype)

    def operator(self, index: int, shapes: Mapping[int, Shape] | Sequence[Shape]) -> Operator:
        """The operator at ``index`` when its tensors have the given shapes."""
        found, place = self._node(index), self._parts[index].place
        if found is None:
            return self._called(self._calls[place], shapes)
        delegate, node = found
        keys = {each: self._key(place, each) for each in node.ids}
        own = {each: shapes[self._numbers[key]] for each, key in keys.items() if key is not None}
        return node_operator(delegate, node, self._first[place], own)

    def _called(self, call: Call, shapes: Mapping[int, Shape] | Sequence[Shape]) -> Operator:
        outputs = self._program.outputs(call)
        known = {each: shapes[self._numbers[Key("value", PROGRAM, each)]] for each in self._program.tensors(call)}
        filters = [each for each in known if self._program.constant(each) is not None]
        inputs = [shape for each, shape in known.items() if each not in (*outputs, *filters)]
        return call_operator(call.name, inputs, [known[each] for each in outputs], [known[each] for each in filters])

    def owners(self, kernels: Sequence[str]) -> list[int | None]:
        """See `Graph.owners`."""
        return owners(self.operators(), [part.place for part in self._parts], kernels)

    def float_kinds(self) -> list[str]:
        """Return the names of the operators that read floating-point activations, but for those that quantize them."""
        found: dict[str, None] = {}
        for index, part in enumerate(self._parts):
            own = self._node(index)
            if own is None:
                call = self._calls[part.place]
                reads, kind = [self._program.dtype(each) for each in self._program.tensors(call)], call_kind(call.name)
            else:
                delegate, node = own
                values = [delegate.values[each] for each in node.inputs]
                reads, kind = [value.dtype for value in values if not value.buffer], node_kind(delegate, node)
            if kind != "QUANTIZE" and any(np.issubdtype(dtype, np.floating) for dtype in reads):
                found[kind] = None
        return list(found)

    def packed(
        self,
        shapes: Mapping[int, Shape],
        integers: Mapping[int, Shape],
        values: Mapping[int, NDArray[Any]],
        left_out: Collection[int] = (),
    ) -> bytes:
        """See `Graph.packed`."""
        program, store = self._program.copied(), NamedDataStore()
        delegates = {place: delegate.copied() for place, delegate in self._delegates.items()}
        for tensor, shape in shapes.items():
            self._resize(self._keys[tensor], shape, program, delegates)
        for tensor, numbers in integers.items():
            part = self._parts[self._keys[tensor].number]
            if part.node < 0:
                program.set_numbers(self._calls[part.place], numbers)
            else:
                delegates[part.place].nodes[part.node].set_numbers(numbers)
        stored = {self._keys[tensor]: value for tensor, value in values.items()}
        for key, value in stored.items():
            if key.place == PROGRAM:
                program.set_constant(key.number, value)
        for place, delegate in delegates.items():
            out = {self._parts[index].node for index in left_out if self._parts[index].place == place}
            if out:
                delegate.leave_out(out)
            self._store(place, delegate, stored, store)
            program.set_payload(self._calls[place], delegate.packed())
        if any(self._parts[index].node < 0 for index in left_out):
            raise UnsupportedModelError("a block that is left out is not XNNPACK's alone.")
        program.file.named_data = store.get_named_data_store_output()
        return bytes(serialize_pte_binary(program.file, extract_delegate_segments=True))

    def _resize(self, key: Key, shape: Shape, program: Program, delegates: Mapping[int, Delegate]) -> None:
        """Give a tensor another shape, everywhere that it is told; scales follow their value."""
        if key.kind != "value":
            return
        if key.place != PROGRAM:
            delegates[key.place].values[key.number].set_shape(shape)
            return
        program.set_shape(key.number, shape)
        for place, delegate in delegates.items():
            for value in delegate.values.values():
                if value.external is not None and self._calls[place].values[value.external] == key.number:
                    value.set_shape(shape)

    def _store(self, place: int, delegate: Delegate, values: Mapping[Key, NDArray[Any]], store: NamedDataStore) -> None:
        """Put a delegate's constants into the file, each under a name of its own."""
        for value in delegate.values.values():
            for kind, buffer in (("value", value.buffer), ("scales", value.scales)):
                if not buffer:
                    continue
                given = values.get(Key(kind, place, value.id))
                content = (
                    self._program.content(delegate.key(buffer))
                    if given is None
                    else np.ascontiguousarray(given).tobytes()
                )
                name = f"{place}.{buffer}"
                delegate.store(buffer, name, len(content))
                store.add_named_data(name, content, ALIGNMENT)
