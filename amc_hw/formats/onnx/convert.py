"""ONNX through PyTorch's exporter (torch.export), channels first."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from amc_hw.errors import DeviceError, UnsupportedModelError, first_line
from amc_hw.formats.batches import Arrays, in_batches
from amc_hw.formats.flat import flattened
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.names import names_of
from amc_hw.formats.onnx.session import session_options
from amc_hw.formats.passes import short_passes
from amc_hw.formats.quiet import quiet
from amc_hw.formats.refused import reason
from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.tracing.inputs import moved

KINDS = ("tensor(float)", "tensor(int64)", "tensor(int32)")
"""Types of inputs that a file may take."""
MISSING = "ONNX needs an extra of amc-hw: pip install 'amc-hw[onnx]'"


@interrupts_deferred()
def to_onnx(model: nn.Module, example_input: Any) -> bytes:
    """Convert a network to ONNX with channel-first input.

    Args:
        model: any network; it is not changed.
        example_input: (N, C, H, W), or other inputs (`amc_hw.tracing.inputs`); N becomes the file's batch size.

    Raises:
        UnsupportedModelError: the exporter refused the network.
        DeviceError: the extra ``onnx`` is not installed.
    """
    try:
        import onnxscript  # noqa: F401 - the exporter needs it
    except ImportError as error:
        raise DeviceError(MISSING) from error
    with quiet(), torch.no_grad(), short_passes():
        try:
            folded = fold_batch_norms(model, example_input).cpu()
            flat, inputs = flattened(folded, example_input)
            names = names_of(folded, moved(example_input, "cpu"))
            program = torch.onnx.export(flat, inputs, dynamo=True, verbose=False)
        except Exception as error:
            raise UnsupportedModelError(
                f"PyTorch's ONNX exporter cannot convert this network: {reason(error)}"
            ) from error
    if program is None:
        raise UnsupportedModelError("PyTorch's ONNX exporter returned nothing; update torch.")
    _name(program.model.graph, *names)
    content: bytes = program.model_proto.SerializeToString()
    return content


def _name(graph: Any, inputs: list[str], outputs: list[str]) -> None:
    """Give the inputs and outputs of a graph (of onnx_ir) their names; what has one of these inside gets another.

    Where the exporter left one out, the others keep the exporter's names.
    """
    if (len(graph.inputs), len(graph.outputs)) != (len(inputs), len(outputs)):
        return
    ends = dict(zip([*graph.inputs, *graph.outputs], [*inputs, *outputs], strict=True))
    for value in (value for node in graph.all_nodes() for value in node.outputs):
        if value.name in ends.values() and value not in ends:
            value.name = f"inner_{value.name}"
    for value, name in ends.items():
        if name not in graph.initializers:
            value.name = name


class OnnxModel:
    """Runs an ONNX file in this process, for checking and evaluation (not for timing).

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: this is no ONNX model that ONNX Runtime can run.
        DeviceError: the extra ``onnx`` is not installed.
    """

    def __init__(self, content: bytes) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise DeviceError(MISSING) from error
        options = session_options(torch.get_num_threads())
        try:
            with quiet():  # it prints what it cannot read
                self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise UnsupportedModelError(
                f"this is not an ONNX model that ONNX Runtime can run: {first_line(error)}"
            ) from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if inputs else []
        if not inputs or not all(
            each.type in KINDS and all(isinstance(size, int) for size in each.shape[1:]) for each in inputs
        ):
            listed = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs) or "none"
            raise UnsupportedModelError(
                f"its inputs are: {listed}; export it with inputs of a fixed size (but for the batch), such as "
                "float32 images (batch, C, H, W)."
            )
        self._names = [each.name for each in inputs]
        self._batch = shape[0] if shape and isinstance(shape[0], int) else 0
        self.image_size = tuple(shape[1:]) if len(shape) == 4 and len(inputs) == 1 else ()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the first outputs for ``images`` (N, C, H, W float32)."""
        return self.outputs([images])[0]

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return all outputs for inputs."""
        return in_batches([self._run], inputs, self._batch or len(inputs[0]))

    def _run(self, inputs: Arrays) -> list[np.ndarray]:
        try:
            given = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise UnsupportedModelError(f"ONNX Runtime cannot run it: {first_line(error)}") from error
        return [np.atleast_1d(each) for each in given]
