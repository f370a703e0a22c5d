"""ExecuTorch files (.pte) through its XNNPACK partitioner, channels first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from amc_hw.errors import DeviceError, UnsupportedModelError, first_line
from amc_hw.formats.batches import Arrays, in_batches
from amc_hw.formats.executorch.rewrites import with_pools_for_means
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.operators_once import operators_looked_up_once
from amc_hw.formats.program import traced_program
from amc_hw.formats.quiet import quiet
from amc_hw.pruning.folding import fold_batch_norms

MISSING = "ExecuTorch needs an extra of amc-hw: pip install 'amc-hw[executorch]'"
METHOD = "forward"
"""The one method of a file."""


def to_pte(model: nn.Module, example_input: Tensor) -> bytes:
    """Convert a network to an ExecuTorch file with channel-first input (N, C, H, W), float32.

    Args:
        model: any network; it is not changed.
        example_input: (N, C, H, W); N becomes the file's batch size.

    Raises:
        UnsupportedModelError: torch.export or ExecuTorch refused the network.
        DeviceError: the extra ``executorch`` is not installed.
    """
    return lowered(traced_program(rewritten(model, example_input), example_input))


def rewritten(model: nn.Module, example_input: Tensor) -> GraphModule:
    """Return a network's graph of ATen calls, batch-norms folded, of which XNNPACK can run as much as possible.

    Raises:
        UnsupportedModelError: torch.export refused the network.
    """
    program = traced_program(fold_batch_norms(model, example_input).cpu(), example_input)
    return with_pools_for_means(program.module(check_guards=False))


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
            with operators_looked_up_once():
                edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
                return bytes(edge.to_executorch().buffer)
        except Exception as error:
            raise UnsupportedModelError(f"ExecuTorch cannot convert this network: {first_line(error)}") from error


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
        if len(shapes) != 1 or not shapes[0]:
            raise UnsupportedModelError(
                f"it has {len(shapes)} inputs; export it with one, float32 images of a fixed size (batch, C, H, W)."
            )
        self.batch = int(shapes[0][0])
        self.image_size = tuple(int(size) for size in shapes[0][1:]) if len(shapes[0]) == 4 else ()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the first outputs for ``images`` (N, C, H, W float32).

        Raises:
            UnsupportedModelError: it does not run.
        """
        return self.outputs([images])[0]

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return all outputs for one input."""
        return in_batches(self._run, inputs, self.batch)

    def _run(self, inputs: Arrays) -> list[np.ndarray]:
        try:
            (images,) = inputs
            with torch.inference_mode():
                given = self._method.execute([torch.from_numpy(np.ascontiguousarray(images))])
                return [np.atleast_1d(each.numpy()) for each in given]
        except Exception as error:
            raise UnsupportedModelError(f"ExecuTorch cannot run it: {first_line(error)}") from error
