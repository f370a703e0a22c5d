"""What LiteRT's quantizer gets wrong where a result of a network is an output and is read as well, put right.

Only numbers change in the file, in their places: which tensors an operator reads, and which the file gives.
"""

from __future__ import annotations

import struct
from typing import Any

from amc_hw.policy import Io

_TENSOR_INDEX = 6
"""The field of a signature's entry (`TensorMap` of TFLite's schema)."""


def mended(content: bytes, io: Io) -> bytes:
    """Return a file, as the quantizer wrote it, whose operators and outputs read what they should."""
    from ai_edge_litert import schema_py_generated as schema

    file = bytearray(content)
    model = schema.Model.GetRootAs(file, 0)
    graph, kinds = model.Subgraphs(0), schema.BuiltinOperator
    by_kind: dict[int, list[Any]] = {}
    for operator in (graph.Operators(place) for place in range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        by_kind.setdefault(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), []).append(operator)
    integers = {each.Outputs(0): each.Inputs(0) for each in by_kind.get(kinds.DEQUANTIZE, ())}
    _read_integers(graph, [each for kind, of in by_kind.items() if kind != kinds.QUANTIZE for each in of], integers)
    made = {each.Outputs(0): each.Inputs(0) for each in by_kind.get(kinds.QUANTIZE, ())}
    floats = {after: before for after, before in made.items() if not graph.Tensors(before).Type()}
    _give_one_type(file, model, graph, floats, io)
    return bytes(file)


def _read_integers(graph: Any, operators: list[Any], integers: dict[int, int]) -> None:
    """Have operators of integers read these.

    The quantizer puts a DEQUANTIZE before an output and hands its result to the other readers, too: the runtime refuses
    it, or takes floating-point numbers for integers.
    """
    for each in operators:
        quantization = graph.Tensors(each.Outputs(0)).Quantization() if each.OutputsLength() else None
        if quantization is not None and quantization.ScaleLength():
            inputs = each.InputsAsNumpy()  # of the file's own bytes
            inputs[:] = [integers.get(int(tensor), int(tensor)) for tensor in inputs]


def _give_one_type(file: bytearray, model: Any, graph: Any, floats: dict[int, int], io: Io) -> None:
    """Have the file give what its signature names: the floating-point result, or the integers.

    Of an operator that stays in floating point, the quantizer's file gives the integers that it makes for a reader, and
    its signature names what was there before.
    """
    outputs = graph.OutputsAsNumpy()
    wrong = {floats[int(tensor)]: int(tensor) for tensor in outputs if int(tensor) in floats}
    if io == "float32":
        outputs[:] = [floats.get(int(tensor), int(tensor)) for tensor in outputs]
        return
    for number in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(number)
        for entry in (signature.Outputs(place) for place in range(signature.OutputsLength())):
            if entry.TensorIndex() in wrong:
                place = entry._tab.Pos + entry._tab.Offset(_TENSOR_INDEX)
                struct.pack_into("<I", file, place, wrong[entry.TensorIndex()])
