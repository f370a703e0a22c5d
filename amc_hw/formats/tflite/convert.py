"""TFLite through LiteRT's converter, channels last."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amc_hw.errors import DeviceError, UnsupportedModelError, first_line
from amc_hw.formats.batches import in_batches
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.quiet import quiet
from amc_hw.pruning.folding import fold_batch_norms


@interrupts_deferred()
def to_tflite(model: nn.Module, example_input: Tensor) -> bytes:
    """Convert a network to TFLite with channel-last input (N, H, W, C), float32.

    Args:
        model: any network; it is not changed.
        example_input: (N, C, H, W); N becomes the file's batch size.

    Raises:
        UnsupportedModelError: the network takes no images, or the converter refused it.
        DeviceError: LiteRT's converter is not installed.
    """
    if example_input.dim() != 4:
        raise UnsupportedModelError(
            f"TFLite files are written of networks that take images (N, C, H, W), and this one takes "
            f"{tuple(example_input.shape)}; export it as onnx or pt2."
        )
    with quiet():
        try:
            import litert_torch
        except ImportError as error:
            raise DeviceError(
                "TFLite export needs LiteRT's converter: pip install litert-torch (for Linux on x86-64 and macOS on "
                "ARM); elsewhere measure with device=onnx"
            ) from error
        # The converter folds batch-norms, too; doing it first halves its time.
        channels_last = litert_torch.to_channel_last_io(fold_batch_norms(model, example_input).cpu(), args=[0])
        images = example_input.detach().cpu().permute(0, 2, 3, 1).contiguous()
        try:
            with torch.no_grad():
                converted = litert_torch.convert(channels_last, (images,))
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.tflite"
                converted.export(str(file))
                return file.read_bytes()
        except Exception as error:
            raise UnsupportedModelError(
                f"LiteRT's converter cannot convert this network: {first_line(error)}"
            ) from error


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
        with quiet():
            try:
                self._interpreter = Interpreter(
                    model_content=content, num_threads=os.cpu_count(), experimental_op_resolver_type=resolver
                )
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise UnsupportedModelError(
                    f"this is not a TFLite model that LiteRT can run; export it again: {error}"
                ) from error
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._to_file, self._to_scores = _Grid.of(self._input), _Grid.of(self._output)
        shape = tuple(int(size) for size in self._input["shape"])
        self._batch = shape[0]
        self.image_size = tuple(shape[axis] for axis in (3, 1, 2)) if len(shape) == 4 else ()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the outputs for ``images`` (N, C, H, W float32), float32 where the file gives integers with a scale.

        Raises:
            UnsupportedModelError: it does not run.
        """
        return in_batches(self._run, images, self._batch)

    def _run(self, images: np.ndarray) -> np.ndarray:
        try:
            maps = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
            self._interpreter.set_tensor(self._input["index"], self._to_file.quantized(maps) if self._to_file else maps)
            self._interpreter.invoke()
            output: np.ndarray = self._interpreter.get_tensor(self._output["index"])
        except (ValueError, RuntimeError) as error:
            raise UnsupportedModelError(
                f"the TFLite file does not run ({first_line(error)}); export it again."
            ) from error
        return self._to_scores.dequantized(output) if self._to_scores else output


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
