"""PyTorch's own exported programs: what the files of ATen calls are made from, and a file for people with PyTorch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.check import require_same
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.passes import short_passes
from amc_hw.formats.quiet import quiet
from amc_hw.formats.refused import reason
from amc_hw.runs.files import write_bytes
from amc_hw.tracing.inputs import called, tensors_of, written_form

ENDING = "pt2"


@interrupts_deferred()
def traced_program(model: nn.Module, example_input: Any) -> ExportedProgram:
    """Return the program that torch.export traces.

    Args:
        model: any network in evaluation mode, on the CPU.
        example_input: (N, C, H, W), or other inputs (`amc_hw.tracing.inputs`); N becomes the program's batch size.

    Raises:
        UnsupportedModelError: torch.export refused the network.
    """
    inputs = tree_map(lambda each: each.detach().cpu().contiguous(), example_input)
    by_name = inputs if isinstance(inputs, dict) else {}
    by_place = () if by_name else inputs if isinstance(inputs, tuple) else (inputs,)
    with quiet(), torch.no_grad(), written_form(model), short_passes():
        try:
            return torch.export.export(model, by_place, by_name)
        except Exception as error:
            raise UnsupportedModelError(f"torch.export cannot trace this network: {reason(error)}") from error


def export_program(model: nn.Module, example_input: Any, path: Path) -> None:
    """Write a network as a program, which `torch.export.load` reads, and check that it computes the same.

    Args:
        model: any network in evaluation mode, on the CPU; it is not changed.
        example_input: (N, C, H, W), or other inputs; N becomes the file's batch size.
        path: the file.

    Raises:
        UnsupportedModelError: the network cannot be traced, or its outputs would differ; then no file is written.
        RunFolderError: the file cannot be written.
    """
    content = io.BytesIO()
    with quiet():
        torch.export.save(traced_program(model, example_input), content)
    content.seek(0)
    program: Any = torch.export.load(content).module()

    require_same(model, _Program(program, example_input), example_input, path)
    write_bytes(path, content.getvalue())


class _Program:
    """Runs a program as files are run.

    Args:
        program: what was read of the file.
        example_input: of the network.
    """

    def __init__(self, program: Any, example_input: Any) -> None:
        self._program, self._built = program, tree_flatten(example_input)[1]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the first output."""
        return self.outputs([images])[0]

    def outputs(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return all outputs."""
        taken = tree_unflatten(map(torch.from_numpy, inputs), self._built)
        with torch.inference_mode():
            return [each.numpy() for each in tensors_of(called(self._program, taken))]
