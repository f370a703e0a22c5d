"""A TFLite file's signature: what its inputs and outputs are called, in the order of the network's."""

from __future__ import annotations

from typing import Any


def named(content: bytes, inputs: list[str], outputs: list[str]) -> bytes:
    """Return a file whose inputs and outputs have names, and stand in the order of these.

    Where the converter left one out, the file stays as it is.

    Args:
        content: the file's bytes, as the converter wrote them, with its numbered names.
        inputs: names in the network's order.
        outputs: likewise.
    """
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    (signature,) = model.signatureDefs
    if (len(signature.inputs), len(signature.outputs)) != (len(inputs), len(outputs)):
        return content
    tensors = model.subgraphs[signature.subgraphIndex].tensors
    others = {tensor.name.decode() for tensor in tensors}
    for side, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
        side.sort(key=lambda entry: _number_last(entry.name.decode()))
        for entry, name in zip(side, names, strict=True):
            entry.name = name
            if name not in others:
                tensors[entry.tensorIndex].name = name
    builder = Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def in_order(interpreter: Any, content: bytes) -> tuple[list[Any], list[Any]]:
    """Return an interpreter's inputs and outputs in the order of the network's, which the file's signature tells."""
    if not interpreter.get_signature_list():
        return interpreter.get_input_details(), interpreter.get_output_details()
    runner = interpreter.get_signature_runner()
    inputs, outputs = _names(content)
    known = runner.get_input_details(), runner.get_output_details()
    return [known[0][name] for name in inputs], [known[1][name] for name in outputs]


def _names(content: bytes) -> tuple[list[str], list[str]]:
    """Return the names of a signature in its order; numbered ones, as converters give them, by their numbers."""
    from ai_edge_litert import schema_py_generated as schema

    signature = schema.Model.GetRootAs(content, 0).SignatureDefs(0)
    inputs = [signature.Inputs(place).Name().decode() for place in range(signature.InputsLength())]
    outputs = [signature.Outputs(place).Name().decode() for place in range(signature.OutputsLength())]
    first, last = (
        sorted(side, key=_number_last) if len({_number_last(name)[0] for name in side}) == 1 else side
        for side in (inputs, outputs)
    )
    return first, last


def _number_last(name: str) -> tuple[str, int]:
    """Return what sorts ``output_2`` before ``output_10``."""
    bare = name.rstrip("0123456789")
    return bare, int(name[len(bare) :] or 0)
