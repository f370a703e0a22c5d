"""ExecuTorch files (.pte) through its XNNPACK partitioner, channels first."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from amc_hw.errors import DeviceError, UnsupportedModelError, first_line
from amc_hw.formats.batches import Arrays, in_batches
from amc_hw.formats.executorch.rewrites import with_pools_for_means
from amc_hw.formats.flat import flattened
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.passes import short_passes
from amc_hw.formats.program import traced_program
from amc_hw.formats.quiet import quiet
from amc_hw.formats.refused import reason
from amc_hw.pruning.folding import fold_batch_norms

MISSING = "ExecuTorch needs an extra of amc-hw: pip install 'amc-hw[executorch]'"
METHOD = "forward"
"""The one method of a file."""


def to_pte(model: nn.Module, example_input: Any) -> bytes:
    """Convert a network to an ExecuTorch file with channel-first input.

    Args:
        model: any network; it is not changed.
        example_input: (N, C, H, W), or other inputs (`amc_hw.tracing.inputs`); N becomes the file's batch size.

    Raises:
        UnsupportedModelError: torch.export or ExecuTorch refused the network.
        DeviceError: the extra ``executorch`` is not installed.
    """
    graph, inputs = rewritten(model, example_input)
    return lowered(traced_program(graph, inputs))


def rewritten(model: nn.Module, example_input: Any) -> tuple[GraphModule, tuple[torch.Tensor, ...]]:
    """Return a network's graph of ATen calls, batch-norms folded, of which XNNPACK can run as much as possible.

    The graph takes the tensors of its inputs by place; those of the example stand beside it.

    Raises:
        UnsupportedModelError: torch.export refused the network.
    """
    flat, inputs = flattened(fold_batch_norms(model, example_input).cpu(), example_input)
    return with_pools_for_means(traced_program(flat, inputs).module(check_guards=False)), inputs


@interrupts_deferred()
def lowered(program: ExportedProgram) -> bytes:
    """Return the file of a program; XNNPACK runs what it can of it, ExecuTorch's own kernels the rest.

    Raises:
        UnsupportedModelError: ExecuTorch refused the program.
        DeviceError: the extra ``executorch`` is not installed.
    """
    with quiet():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError as error:
            raise DeviceError(MISSING) from error
        try:
            with short_passes():
                edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
                return bytes(edge.to_executorch().buffer)
        except Exception as error:
            raise UnsupportedModelError(f"ExecuTorch cannot convert this network: {reason(error)}") from error


class PteModel:
    """Runs an ExecuTorch file in this process, for checking and evaluation (not for timing).

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: this is no file that ExecuTorch can run.
        DeviceError: the extra ``executorch`` is not installed.
    """

    def __init__(self, content: bytes) -> None:
        with quiet():
            try:
                from executorch.runtime import Runtime
            except ImportError as error:
                raise DeviceError(MISSING) from error
            try:
                self._program = Runtime.get().load_program(content)  # the method reads the program's memory
                self._method = self._program.load_method(METHOD)
                about = self._method.metadata
                shapes = [tuple(about.input_tensor_meta(place).sizes()) for place in range(about.num_inputs())]
            except Exception as error:  # a status from C++, a missing method
                raise UnsupportedModelError(
                    f"this is not a file that ExecuTorch can run; export it again: {first_line(error)}"
                ) from error
        if not shapes or not all(shapes):
            raise UnsupportedModelError(
                f"its inputs have the shapes {shapes}; export it with the batch first in each, such as images "
                "(batch, C, H, W)."
            )
        self.batch = int(shapes[0][0])
        is_of_images = len(shapes) == 1 and len(shapes[0]) == 4
        self.image_size = tuple(int(size) for size in shapes[0][1:]) if is_of_images else ()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the first outputs for ``images`` (N, C, H, W float32).

        Raises:
            UnsupportedModelError: it does not run.
        """
        return self.outputs([images])[0]

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return all outputs for inputs."""
        return in_batches([self._run], inputs, self.batch)

    def _run(self, inputs: Arrays) -> list[np.ndarray]:
        try:
            with torch.inference_mode():
                given = self._method.execute([torch.from_numpy(np.ascontiguousarray(each)) for each in inputs])
                return [np.atleast_1d(each.numpy()) for each in given]
        except Exception as error:
            raise UnsupportedModelError(f"ExecuTorch cannot run it: {first_line(error)}") from error
