"""What XNNPACK runs of an ExecuTorch file: its nodes and values, read and written through the schema in the package."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import cast

import numpy as np
from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
from executorch.exir._serialize._flatbuffer import _get_flatc_path

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.executorch.records import (
    Field,
    GraphRecord,
    NodeRecord,
    Quantization,
    QuantizedRecord,
    TensorRecord,
    ValueRecord,
)
from amc_hw.latency.operators import Shape

ABSENT = 2**32 - 1
"""Stands for a value that a node does without."""
ALIGNMENT = 16
OUTPUTS = frozenset({"output_id", "output_value_id", "output_index_id"})
DTYPES: dict[str, type[np.generic]] = {
    "xnn_datatype_fp32": np.float32,
    "xnn_datatype_fp16": np.float16,
    "xnn_datatype_qint8": np.int8,
    "xnn_datatype_quint8": np.uint8,
    "xnn_datatype_qcint8": np.int8,
    "xnn_datatype_qint32": np.int32,
    "xnn_datatype_qcint32": np.int32,
    "xnn_datatype_int32": np.int32,
}
_SCHEMA = str(files("executorch.backends.xnnpack.serialization") / "schema.fbs")
_NO_NUMBERS = frozenset({"flags", "axis", "num_dims", "perm"})
_INFINITE = re.compile(r"([:\[,]\s*)([+-]?inf)\b")
"""How the schema's compiler writes infinity, which JSON does not have."""


class Node:
    """One operator of a delegate.

    Args:
        record: as the flatbuffer has it.
    """

    def __init__(self, record: NodeRecord) -> None:
        self.record = record
        self.kind = str(record["xnode_union_type"]).removeprefix("XNN")
        self.fields = record["xnode_union"]
        self.outputs = [self.number(name) for name in self.fields if name in OUTPUTS]

    @property
    def ids(self) -> list[int]:
        """The values that it reads and writes, `ABSENT` for one that it does without."""
        return [self.number(name) for name in self.fields if name.endswith("_id")]

    def number(self, name: str) -> int:
        """Return one of its entries that is a whole number."""
        return int(cast(int, self.fields[name]))

    @property
    def inputs(self) -> list[int]:
        """The values that it reads."""
        return [each for each in self.ids if each not in self.outputs and each != ABSENT]

    @property
    def numbers(self) -> list[int]:
        """Its integers that can follow channel counts: groups, channels of a group, a new shape, begins and sizes."""
        return [int(cast(int, number)) for name in self._numbered() for number in _listed(self.fields[name])]

    def set_numbers(self, numbers: Shape) -> None:
        """Put others in their place."""
        rest = iter(numbers)
        for name in self._numbered():
            old = self.fields[name]
            self.fields[name] = [next(rest) for _ in old] if isinstance(old, list) else next(rest)

    def redirect(self, stands_for: Mapping[int, int]) -> None:
        """Have it read other values."""
        for name in self.fields:
            if name.endswith("_id") and name not in OUTPUTS:
                value = self.number(name)
                self.fields[name] = stands_for.get(value, value)

    def _numbered(self) -> Iterator[str]:
        for name, value in self.fields.items():
            whole = all(isinstance(each, int) for each in _listed(value))
            if whole and not name.endswith("_id") and name not in _NO_NUMBERS:
                yield name


class Value:
    """One value of a delegate: an activation or a constant.

    Args:
        record: as the flatbuffer has it.
    """

    def __init__(self, record: ValueRecord) -> None:
        self.record = record
        self.fields, self.quant = _tensor(record["xvalue_union"])
        self.id, self.buffer = self.fields["id_out"], self.fields["constant_buffer_idx"]
        external = self.fields["external_id"]
        self.external = None if external == ABSENT else external

    @property
    def shape(self) -> Shape:
        """Its sizes."""
        return tuple(self.fields["dims"])

    @property
    def dtype(self) -> type[np.generic]:
        """Of its numbers, for numpy."""
        try:
            return DTYPES[self.fields["datatype"]]
        except KeyError:
            raise UnsupportedModelError(
                f"a value has the type {self.fields['datatype']}, which is not known."
            ) from None

    @property
    def scales(self) -> int:
        """The buffer of its scales, one for each channel; 0 where there are none such."""
        return self.quant.get("scale_buffer_idx", 0) if self.quant.get("num_scales") else 0

    def set_shape(self, shape: Shape) -> None:
        """Give it other sizes."""
        self.fields["dims"] = list(shape)
        if self.scales:
            self.quant["num_scales"] = shape[self.quant["channel_dim"]]


class Delegate:
    """A part of a network that XNNPACK runs at one go.

    Args:
        payload: as the file has it.
    """

    def __init__(self, payload: bytes) -> None:
        header = XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH])
        begin = header.flatbuffer_offset
        self._take(_read(payload[begin : begin + header.flatbuffer_size]))

    def _take(self, graph: GraphRecord) -> None:
        self._graph = graph
        self.nodes = [Node(record) for record in graph["xnodes"]]
        self.values = {value.id: value for value in map(Value, graph["xvalues"])}

    def copied(self) -> Delegate:
        """Return one that can be changed."""
        other = copy.copy(self)
        other._take(copy.deepcopy(self._graph))
        return other

    def key(self, buffer: int) -> str:
        """Return the name of a constant's content in the file."""
        return self._graph["constant_data"][buffer]["named_key"]

    def store(self, buffer: int, key: str, size: int) -> None:
        """Have a constant's content, of a size in bytes, under another name."""
        self._graph["constant_data"][buffer].update({"named_key": key, "size": size})

    def leave_out(self, indices: Collection[int]) -> None:
        """Take nodes out; who read their results reads what came into the first of them.

        Raises:
            UnsupportedModelError: the result leaves the delegate.
        """
        made = {output for index in indices for output in self.nodes[index].outputs}
        if any(self.values[each].external is not None for each in made):
            raise UnsupportedModelError("a block that is left out ends where XNNPACK's part of the network does.")
        stands_for: dict[int, int] = {}
        for index in sorted(indices):
            node = self.nodes[index]
            read = [each for each in node.inputs if not self.values[each].buffer]
            outside = [each for each in read if each not in made]
            within = [stands_for[each] for each in read if each in stands_for]
            stands_for.update(dict.fromkeys(node.outputs, (outside or within)[0]))
        self.nodes = [node for index, node in enumerate(self.nodes) if index not in indices]
        for node in self.nodes:
            node.redirect(stands_for)
        used = {each for node in self.nodes for each in node.ids}
        self.values = {each: value for each, value in self.values.items() if each in used or value.external is not None}

    def packed(self) -> bytes:
        """Return the payload."""
        graph = copy.copy(self._graph)
        graph["xnodes"] = [node.record for node in self.nodes]
        graph["xvalues"] = [value.record for value in self.values.values()]
        content = _written(graph)
        begin = -(-XNNHeader.EXPECTED_LENGTH // ALIGNMENT) * ALIGNMENT
        end = begin + -(-len(content) // ALIGNMENT) * ALIGNMENT
        header: bytes = XNNHeader(begin, len(content), end, 0).to_bytes()
        return header.ljust(begin, b"\0") + content.ljust(end - begin, b"\0")


def _listed(value: Field) -> Sequence[int | float | str]:
    return value if isinstance(value, list) else [value]


def _tensor(union: TensorRecord | QuantizedRecord) -> tuple[TensorRecord, Quantization]:
    """Return a value's tensor and its scales, which one of floating point has none of."""
    if "tensor_value" in union:
        quantized = cast(QuantizedRecord, union)
        return quantized["tensor_value"], quantized.get("quant_params", {})
    return union, {}


def _read(content: bytes) -> GraphRecord:
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "graph.bin"
        binary.write_bytes(content)
        _compile("--json", "--defaults-json", "--strict-json", "-o", folder, _SCHEMA, "--", str(binary))
        graph: GraphRecord = json.loads(_INFINITE.sub(r'\1"\2"', binary.with_suffix(".json").read_text()))
        return graph


def _written(graph: GraphRecord) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "graph.json"
        text.write_text(json.dumps(graph))
        _compile("--binary", "-o", folder, _SCHEMA, str(text))
        return text.with_suffix(".bin").read_bytes()


def _compile(*arguments: str) -> None:
    """Run the compiler of schemas that comes with ExecuTorch; binary files stand behind ``--``."""
    subprocess.run([_get_flatc_path(), *arguments], check=True, capture_output=True)
