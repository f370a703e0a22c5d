"""Which operators of a TFLite file are left between the parts that XNNPACK runs as a whole."""

from __future__ import annotations

from typing import Any

from amc_hw.formats.quiet import quiet

_WHOLE = "DELEGATE"
"""What the interpreter calls a part that it has handed over."""


def between_parts(content: bytes) -> list[str]:
    """Return the names of the operators that split a file into several parts; none where it is one part, or not known.

    Each has a result that another part reads.
    """
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    operators: list[Any] = getattr(interpreter, "_get_ops_details", list)()  # LiteRT documents no other way
    wholes = [each for each in operators if each["op_name"] == _WHOLE]
    if len(wholes) < 2:
        return []
    read, made = ({int(tensor) for each in wholes for tensor in each[side]} for side in ("inputs", "outputs"))
    missing = read - made
    return sorted({str(each["op_name"]) for each in operators if missing & {int(tensor) for tensor in each["outputs"]}})
