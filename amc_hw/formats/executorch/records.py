"""The records of XNNPACK's schema, as far as they are read or changed here; what else stands in them stays as it is."""

from __future__ import annotations

from typing import TypeAlias, TypedDict

Field: TypeAlias = int | float | str | list[int]
"""One entry of a node: a value's number, an amount, the name of an option, or sizes; infinite amounts are texts."""


class Limits(TypedDict):
    """What a node's results are cut to."""

    output_min: float | str
    output_max: float | str


class _Node(TypedDict):
    xnode_union_type: str
    xnode_union: dict[str, Field]


class NodeRecord(_Node, total=False):
    """An operator: its kind, its entries by their names, and what its results are cut to."""

    output_min_max: Limits | None


class TensorRecord(TypedDict):
    """A tensor: the type of its numbers, its sizes, its number inside and outside, and the buffer of a constant."""

    datatype: str
    dims: list[int]
    id_out: int
    external_id: int
    constant_buffer_idx: int


class Quantization(TypedDict, total=False):
    """The scales of a tensor's channels: in which buffer, how many, along which dimension; nothing for one scale."""

    scale_buffer_idx: int
    num_scales: int
    channel_dim: int


class QuantizedRecord(TypedDict):
    """A tensor of integers."""

    tensor_value: TensorRecord
    quant_params: Quantization


class ValueRecord(TypedDict):
    """A value, which is a tensor of either kind."""

    xvalue_union: TensorRecord | QuantizedRecord


class ConstantRecord(TypedDict):
    """Where a constant's content is: its name in the file, and its size in bytes."""

    named_key: str
    size: int


class GraphRecord(TypedDict):
    """All that a delegate runs."""

    xnodes: list[NodeRecord]
    xvalues: list[ValueRecord]
    constant_data: list[ConstantRecord]
