"""TFLite through LiteRT's converter, channels last."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from amc_hw.errors import DeviceError, UnsupportedModelError, first_line
from amc_hw.formats.batches import Arrays, channels_last, in_batches
from amc_hw.formats.flat import flattened
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.names import names_of
from amc_hw.formats.passes import short_passes
from amc_hw.formats.quiet import quiet
from amc_hw.formats.refused import reason
from amc_hw.formats.tflite.rewritten import Rewritten
from amc_hw.formats.tflite.signature import in_order, named
from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.tracing.inputs import moved

MOST_WORKERS, LEAST_BATCHES = 8, 4
"""Copies of a file that share its inputs, at most, and batches for each of them, at least: a copy has weights of its
own, and two threads within one small operator mostly wait for each other."""


@interrupts_deferred()
def to_tflite(model: nn.Module, example_input: Any) -> bytes:
    """Convert a network to TFLite; images are taken channels last (N, H, W, C), other inputs as they are.

    Args:
        model: any network; it is not changed.
        example_input: (N, C, H, W), or other inputs (`amc_hw.tracing.inputs`); N becomes the file's batch size.

    Raises:
        UnsupportedModelError: the converter refused the network.
        DeviceError: LiteRT's converter is not installed.
    """
    with quiet():
        try:
            import litert_torch
        except ImportError as error:
            raise DeviceError(
                "TFLite export needs LiteRT's converter: pip install litert-torch (for Linux on x86-64 and macOS on "
                "ARM); elsewhere measure with device=onnx"
            ) from error
        # The converter folds batch-norms, too; doing it first halves its time.
        folded = fold_batch_norms(model, example_input).cpu()
        flat, inputs = flattened(folded, example_input)
        maps = [place for place, each in enumerate(inputs) if each.dim() == 4]
        placed = tuple(each.permute(0, 2, 3, 1).contiguous() if each.dim() == 4 else each for each in inputs)
        try:
            with torch.no_grad(), short_passes():
                converted = litert_torch.convert(litert_torch.to_channel_last_io(Rewritten(flat), args=maps), placed)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.tflite"
                converted.export(str(file))
                return named(file.read_bytes(), *names_of(folded, moved(example_input, "cpu")))
        except Exception as error:
            raise UnsupportedModelError(f"LiteRT's converter cannot convert this network: {reason(error)}") from error


class TfliteModel:
    """Runs a TFLite file in this process, for checking and evaluation (not for timing).

    Args:
        content: the file's bytes.
        delegate: whether XNNPACK may take over; LiteRT's own kernels, without it, check the shapes of their constants.

    Raises:
        UnsupportedModelError: this is no TFLite model, or its constants do not fit.
        DeviceError: LiteRT is not installed.
    """

    def __init__(self, content: bytes, delegate: bool = True) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise DeviceError("running a TFLite file needs LiteRT: pip install ai-edge-litert") from error
        resolver = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES

        def interpreter() -> Any:
            made = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
            made.allocate_tensors()
            return made

        with quiet():
            try:
                self._interpreters = [interpreter()]
            except (ValueError, RuntimeError) as error:
                raise UnsupportedModelError(
                    f"this is not a TFLite model that LiteRT can run; export it again: {error}"
                ) from error
        self._another = interpreter
        self._inputs, self._outputs = in_order(self._interpreters[0], content)
        shape = tuple(int(size) for size in self._inputs[0]["shape"])
        self._batch = shape[0]
        is_of_images = len(shape) == 4 and len(self._inputs) == 1
        self.image_size = tuple(shape[axis] for axis in (3, 1, 2)) if is_of_images else ()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the first outputs for ``images`` (N, C, H, W float32); see `outputs`."""
        return self.outputs([images])[0]

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return all outputs for inputs, images (N, C, H, W); float32 where the file gives integers with a scale.

        Raises:
            UnsupportedModelError: it does not run.
        """
        workers = min(torch.get_num_threads(), MOST_WORKERS, len(inputs[0]) // (self._batch * LEAST_BATCHES))
        with quiet():
            while len(self._interpreters) < workers:
                self._interpreters.append(self._another())
        runs = [partial(self._run, each) for each in self._interpreters[: max(1, workers)]]
        return in_batches(runs, inputs, self._batch)

    def _run(self, interpreter: Any, inputs: Arrays) -> list[np.ndarray]:
        try:
            for detail, values in zip(self._inputs, inputs, strict=True):
                interpreter.set_tensor(detail["index"], placed(values, detail))
            interpreter.invoke()
            given = [np.atleast_1d(interpreter.get_tensor(detail["index"])) for detail in self._outputs]
        except (ValueError, RuntimeError) as error:
            raise UnsupportedModelError(
                f"the TFLite file does not run ({first_line(error)}); export it again."
            ) from error
        grids = [_Grid.of(detail) for detail in self._outputs]
        return [grid.dequantized(each) if grid else each for grid, each in zip(grids, given, strict=True)]


def placed(values: NDArray[Any], detail: Mapping[str, Any]) -> NDArray[Any]:
    """Return an input as a file takes it: channels last, of its integers' scale, 64-bit integers in 32 bits."""
    grid, last = _Grid.of(detail), channels_last(values)
    return grid.quantized(last) if grid else last.astype(detail["dtype"], copy=False)


@dataclass(frozen=True)
class _Grid:
    """The integers that stand for real numbers in a file's input or output: (integer - zero point) x scale."""

    dtype: Any
    scale: float
    zero_point: int

    @classmethod
    def of(cls, detail: Mapping[str, Any]) -> _Grid | None:
        """Return the grid of an interpreter's tensor; None where its numbers stand for themselves."""
        scale, zero_point = detail["quantization"]
        return cls(detail["dtype"], float(scale), int(zero_point)) if scale else None

    def quantized(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return the nearest integers, of ties the even ones, as a QUANTIZE in the file would."""
        limits = np.iinfo(self.dtype)
        nearest = np.rint(values * np.float32(1 / self.scale)) + np.float32(self.zero_point)
        integers: NDArray[Any] = nearest.clip(limits.min, limits.max).astype(self.dtype)
        return integers

    def dequantized(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the numbers that integers stand for."""
        numbers: NDArray[np.float32] = (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(
            self.scale
        )
        return numbers
