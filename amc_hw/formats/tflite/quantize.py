"""A float TFLite file to one of another precision, by LiteRT's quantizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from amc_hw.errors import DeviceError, UnsupportedModelError, first_line
from amc_hw.formats.batches import Arrays
from amc_hw.formats.check import NEAR_IMAGES, TOLERANCE
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.quiet import quiet
from amc_hw.formats.tflite.convert import TfliteModel
from amc_hw.formats.tflite.mended import mended
from amc_hw.policy import Io, Precision

_STATIC_BITS: dict[Precision, int] = {"int8": 8, "int16x8": 16}
"""Of activations whose ranges calibration images tell."""


@interrupts_deferred()
def quantized(content: bytes, precision: Precision, inputs: Arrays, io: Io = "float32") -> bytes:
    """Return a TFLite file in another precision.

    Args:
        content: a float32 file.
        precision: ``fp16`` (weights only), ``int8`` (weights by output channel, activations by tensor),
            ``int8-dynamic`` (weights; activations while it runs), ``int16x8`` (weights int8, activations int16).
        inputs: training images (N, C, H, W), or other inputs, that tell the ranges of activations; of no use to
            ``fp16`` and ``int8-dynamic``.
        io: type of the file's inputs and outputs, but for whole numbers; ``int8`` leaves the QUANTIZE before and the
            DEQUANTIZE behind out.

    Raises:
        UnsupportedModelError: the quantizer refused the file.
        DeviceError: the quantizer is not installed.
    """
    with quiet():
        try:
            from ai_edge_quantizer import qtyping, quantizer, recipe_manager

            from amc_hw.formats.tflite import one_part
            from amc_hw.formats.tflite.activations import activation_ranges, float_tail_of, with_finite_padding
            from amc_hw.formats.tflite.graph import TfliteGraph
        except ImportError as error:
            raise DeviceError(
                "a TFLite file in another precision than fp32 needs LiteRT's quantizer: pip install litert-torch"
            ) from error
        ranges, in_float = None, list[str]()
        try:
            if precision == "int8":
                content = _same_or(content, one_part.in_one_part(content), inputs)
            if precision in _STATIC_BITS:
                graph = TfliteGraph(content)
                tail = float_tail_of(graph) if io == "float32" else set()
                in_float = ["".join(f"{graph.name(each)};" for each in graph.outputs_of(index)) for index in tail]
                ranges = activation_ranges(content, graph, inputs, tail)
                content = with_finite_padding(content, graph, ranges)
            recipe = _recipe(recipe_manager.RecipeManager(), qtyping, precision, io, in_float)
            worker = quantizer.Quantizer(bytearray(content), recipe)
            written = worker.quantize(ranges, enable_progress_report=False).quantized_model or b""
            return one_part.slopes_of_integers(mended(written, io)) if precision == "int8" else mended(written, io)
        except Exception as error:
            raise UnsupportedModelError(
                f"LiteRT's quantizer cannot write this network in {precision}: {first_line(error)}"
            ) from error


def _same_or(content: bytes, other: bytes, inputs: Arrays) -> bytes:
    """Return another form of a float32 file; the file itself, where their numbers are not the same."""
    if other is content:
        return content
    few = [each[:NEAR_IMAGES] for each in inputs]
    before, after = TfliteModel(content).outputs(few), TfliteModel(other).outputs(few)
    differences = (
        np.abs(one - two).max() / max(np.abs(one).max(), 1e-6) for one, two in zip(before, after, strict=True)
    )
    return other if all(difference <= TOLERANCE for difference in differences) else content


def left_in_float(content: bytes) -> list[str]:
    """Return the names of the operators of a file that still compute in floating point."""
    from amc_hw.formats.tflite.graph import TfliteGraph

    return TfliteGraph(content).float_kinds()


def _recipe(recipes: Any, types: Any, precision: Precision, io: Io, in_float: Sequence[str]) -> Any:
    """Return what the quantizer is to do, but for operators with these results: their names, a semicolon after each."""
    every, name = ".*", types.TFLOperationName
    if precision == "fp16":
        half = types.TensorQuantizationConfig(num_bits=16, dtype=types.TensorDataType.FLOAT)
        weights = types.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=types.ComputePrecision.FLOAT, explicit_dequantize=True
        )
        recipes.add_quantization_config(every, name.ALL_SUPPORTED, weights, "float_casting")
    elif precision == "int8-dynamic":
        recipes.add_dynamic_config(every, name.ALL_SUPPORTED, num_bits=8)
    else:
        bits = _STATIC_BITS[precision]
        recipes.add_static_config(every, name.ALL_SUPPORTED, activation_num_bits=bits, weight_num_bits=8)
        for side in (name.INPUT, name.OUTPUT) if io == "float32" else ():
            recipes.add_quantization_config(every, side, algorithm_key="no_quantize")
        for results in in_float:
            scope = f"^{re.escape(results)}$"
            recipes.add_quantization_config(scope, name.ALL_SUPPORTED, algorithm_key="no_quantize")
    return recipes.get_quantization_recipe()
