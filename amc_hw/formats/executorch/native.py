"""The program of an ExecuTorch file: its calls of XNNPACK and of ExecuTorch's own kernels, and their values."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from executorch.exir import schema
from executorch.exir._serialize._program import PTEFile
from numpy.typing import NDArray

from amc_hw.errors import UnsupportedModelError
from amc_hw.latency.operators import Shape

BACKEND = "XnnpackBackend"
DTYPES: dict[str, type[np.generic]] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "CHAR": np.int8,
    "BYTE": np.uint8,
    "INT": np.int32,
    "LONG": np.int64,
    "BOOL": np.bool_,
}


@dataclass(frozen=True)
class Call:
    """One instruction of a program.

    Attributes:
        name: of the kernel (``aten::mean.out``); empty where it runs a delegate.
        values: what it is called with, by their places among the program's values.
        delegate: the place of what it runs, or -1.
    """

    name: str
    values: tuple[int, ...]
    delegate: int = -1


class Program:
    """A program that runs its calls one after the other.

    Args:
        file: the file that it stands in; it is changed where calls share integers.

    Raises:
        UnsupportedModelError: it has control flow, or another backend than XNNPACK.
    """

    def __init__(self, file: PTEFile) -> None:
        self.file = file
        plans = file.program.execution_plan
        if len(plans) != 1 or len(plans[0].chains) != 1:
            raise UnsupportedModelError("the ExecuTorch file has several methods; export one with forward alone.")
        self._plan = plans[0]
        if any(delegate.id != BACKEND for delegate in self._plan.delegates):
            raise UnsupportedModelError("the ExecuTorch file runs on another backend than XNNPACK; export it again.")
        self.calls = [self._call(instruction.instr_args) for instruction in self._plan.chains[0].instructions]

    def _call(self, instruction: Any) -> Call:
        if isinstance(instruction, schema.DelegateCall):
            return Call("", tuple(instruction.args), instruction.delegate_index)
        if not isinstance(instruction, schema.KernelCall):
            raise UnsupportedModelError("the ExecuTorch file has control flow; export a network without.")
        instruction.args = [self._own(place) for place in instruction.args]
        operator = self._plan.operators[instruction.op_index]
        return Call(f"{operator.name}.{operator.overload}", tuple(instruction.args))

    def _own(self, place: int) -> int:
        """Return the place of a copy of a value if it is an integer, or a list of such; others stay where they are."""
        value = self._value(place)
        if not isinstance(value, (schema.Int, schema.IntList)):
            return place
        own = copy.deepcopy(self._plan.values[place])
        if isinstance(own.val, schema.IntList):
            own.val.items = [self._own(item) for item in own.val.items]
        self._plan.values.append(own)
        return len(self._plan.values) - 1

    def copied(self) -> Program:
        """Return one that can be changed; what it stores is shared."""
        other = copy.copy(self)
        stored = {id(each): each for each in (*self.file.program.constant_buffer, *self._payloads)}
        other.file = PTEFile(copy.deepcopy(self.file.program, stored), self.file.mutable_data, self.file.named_data)
        other.file.program.constant_buffer = list(self.file.program.constant_buffer)
        other.file.program.backend_delegate_data = list(self._payloads)
        other._plan = other.file.program.execution_plan[0]
        return other

    @property
    def _payloads(self) -> list[schema.BackendDelegateInlineData]:
        payloads: list[schema.BackendDelegateInlineData] = self.file.program.backend_delegate_data
        return payloads

    def _value(self, place: int) -> Any:
        return self._plan.values[place].val

    def payload(self, call: Call) -> bytes:
        """Return what a delegate is."""
        return bytes(self._payloads[self._plan.delegates[call.delegate].processed.index].data)

    def set_payload(self, call: Call, payload: bytes) -> None:
        """Put another in its place."""
        index = self._plan.delegates[call.delegate].processed.index
        self._payloads[index] = schema.BackendDelegateInlineData(data=payload)

    def content(self, key: str) -> bytes:
        """Return what is stored under a name.

        Raises:
            UnsupportedModelError: nothing is.
        """
        named = self.file.named_data
        if named is None or key not in named.pte_data:
            raise UnsupportedModelError("the ExecuTorch file keeps its weights elsewhere; export it again.")
        return bytes(named.buffers[named.pte_data[key].buffer_index])

    def tensors(self, call: Call) -> list[int]:
        """Return the tensors that a kernel reads and writes, in its order."""
        return list(dict.fromkeys(place for value in call.values for place in self._tensors(value)))

    def outputs(self, call: Call) -> list[int]:
        """Return the tensors that a kernel writes: its last argument."""
        return list(self._tensors(call.values[-1]))

    def _tensors(self, place: int) -> Iterator[int]:
        value = self._value(place)
        if isinstance(value, schema.Tensor):
            yield place
        elif isinstance(value, (schema.TensorList, schema.OptionalTensorList)):
            yield from (item for item in value.items if item >= 0)

    def numbers(self, call: Call) -> list[int]:
        """Return the integers among a kernel's arguments."""
        return [int(self._value(place).int_val) for place in self._integers(call)]

    def set_numbers(self, call: Call, numbers: Shape) -> None:
        """Put others in their place."""
        for place, number in zip(self._integers(call), numbers, strict=True):
            self._value(place).int_val = number

    def _integers(self, call: Call) -> Iterator[int]:
        for place in call.values:
            value = self._value(place)
            if isinstance(value, schema.Int):
                yield place
            elif isinstance(value, schema.IntList):
                yield from value.items

    def shape(self, tensor: int) -> Shape:
        """Return a tensor's sizes."""
        return tuple(int(size) for size in self._value(tensor).sizes)

    def set_shape(self, tensor: int, shape: Shape) -> None:
        """Give a tensor other sizes; its memory stays, which is that of the largest network."""
        self._value(tensor).sizes = list(shape)

    def dtype(self, tensor: int) -> Any:
        """Return the type of a tensor's numbers, for numpy."""
        name = self._value(tensor).scalar_type.name
        if name not in DTYPES:
            raise UnsupportedModelError(f"a tensor has the type {name}, which is not known.")
        return DTYPES[name]

    def constant(self, tensor: int) -> NDArray[Any] | None:
        """Return the value of a stored tensor (flat), None for an activation."""
        place = self._value(tensor).data_buffer_idx
        if not place or self._value(tensor).allocation_info is not None:
            return None
        dtype, size = self.dtype(tensor), int(np.prod(self.shape(tensor)))
        return np.frombuffer(self.file.program.constant_buffer[place].storage, dtype, size)

    def set_constant(self, tensor: int, value: NDArray[Any]) -> None:
        """Store another value."""
        stored = self.file.program.constant_buffer
        stored.append(schema.Buffer(storage=np.ascontiguousarray(value).tobytes()))
        self._value(tensor).data_buffer_idx = len(stored) - 1
