"""The formats that devices run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any, Protocol

import numpy as np
from torch import nn

from amc_hw.errors import AmcHwError, UnsupportedModelError, UsageError, first_line, unknown_name
from amc_hw.formats.aten.convert import AtenModel, to_aten
from amc_hw.formats.aten.stored import rounded
from amc_hw.formats.batches import Arrays
from amc_hw.formats.executorch.convert import PteModel, to_pte
from amc_hw.formats.executorch.quantize import left_in_float as pte_left_in_float
from amc_hw.formats.executorch.quantize import quantized as pte_quantized
from amc_hw.formats.first_bytes import require_ending
from amc_hw.formats.graph import Graph
from amc_hw.formats.onnx.convert import OnnxModel, to_onnx
from amc_hw.formats.onnx.quantize import left_in_float as onnx_left_in_float
from amc_hw.formats.onnx.quantize import quantized as onnx_quantized
from amc_hw.formats.tflite.convert import TfliteModel, to_tflite
from amc_hw.formats.tflite.parts import between_parts
from amc_hw.formats.tflite.quantize import left_in_float, quantized
from amc_hw.policy import PRECISIONS, Io, Precision, require_io
from amc_hw.tracing.inputs import tensors_of

LONGEST_REASON = 1000
"""Characters of an error's message; some libraries put the content of the file into it."""


class FileModel(Protocol):
    """A file that runs in this process: images (N, C, H, W) float32 in, its first output for each image out.

    Attributes:
        image_size: (C, H, W); empty where the file takes no images.
    """

    image_size: tuple[int, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the outputs for any number of images."""

    def outputs(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return all outputs for any number of inputs, in the order of the network's."""


@dataclass(frozen=True)
class Format:
    """A file format; its name is the file's ending, too.

    Attributes:
        name: for example ``onnx``.
        convert: a network and example images (N, C, H, W), or other inputs, to the file's bytes.
        model: the file's bytes to something that runs.
        graph: the file's bytes to its graph.
        quantize: a float32 file, a precision and training inputs, each (N, ...), to the file in that precision.
        left_in_float: a file's bytes to the names of its operators that compute in floating point.
        between_parts: a file's bytes to the names of the operators between the parts that run as a whole.
        quantize_whole: like ``quantize``, to a file that takes and gives int8 instead of float32.
        quantize_network: instead of ``quantize``, where the format's quantizer takes the network: a network, example
            inputs, a precision and training inputs, both as the network takes them, to the file.
        scoring_batch: images for each run of a file that is written to be scored only: several, where every call of an
            operator has a price however little it computes.
    """

    name: str
    convert: Callable[[nn.Module, Any], bytes]
    model: Callable[[bytes], FileModel]
    graph: Callable[[bytes], Graph]
    quantize: Callable[[bytes, Precision, Arrays], bytes] | None = None
    left_in_float: Callable[[bytes], list[str]] | None = None
    between_parts: Callable[[bytes], list[str]] | None = None
    quantize_whole: Callable[[bytes, Precision, Arrays], bytes] | None = None
    quantize_network: Callable[[nn.Module, Any, Precision, Any], bytes] | None = None
    scoring_batch: int = 1

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What it can be written in."""
        return PRECISIONS[self.name]

    def quantized(
        self,
        model: nn.Module,
        example_input: Any,
        float_file: Callable[[], bytes],
        precision: Precision,
        calibration: Any,
    ) -> bytes:
        """Return the file of a network in a precision.

        Args:
            model: the network.
            example_input: (N, C, H, W), or other inputs; N becomes the file's batch size.
            float_file: writes its float32 file, which is asked for where it is needed.
            precision: one of ``precisions``; in ``fp32`` it is the float32 file.
            calibration: training images (N, C, H, W), or other inputs, that tell the ranges of activations; in
                ``fp32`` any inputs.

        Raises:
            UnsupportedModelError: the quantizer refused it.
        """
        if precision != "fp32" and self.quantize_network is not None:
            return self.quantize_network(model, example_input, precision, calibration)
        if precision == "fp32" or self.quantize is None:
            return float_file()
        inputs = [each.detach().cpu().numpy() for each in tensors_of(calibration)]
        return self.quantize(float_file(), precision, inputs)

    def with_io(self, precision: Precision, io: Io) -> Format:
        """Return the format whose files, quantized to a precision, take and give numbers of a type.

        Raises:
            UsageError: there are none such.
        """
        require_io(precision, io)
        if io == "float32":
            return self
        if self.quantize_whole is None:
            raise UsageError(f"{self.name} files take and give float32 only; leave io= out.")
        return replace(self, quantize=self.quantize_whole)

    def in_precision(self, precision: Precision, calibration: Any, io: Io = "float32") -> Format:
        """Return the format whose files are written in a precision.

        Args:
            precision: one of ``precisions``.
            calibration: training images (N, C, H, W), or other inputs, that tell the ranges of activations.
            io: what they take and give.

        Raises:
            UsageError: the format is not written in it.
        """
        self.require_precision(precision)
        kind = self.with_io(precision, io)
        if precision == "fp32":
            return self

        def convert(model: nn.Module, example_input: Any) -> bytes:
            float_file = partial(self.convert, model, example_input)
            return kind.quantized(model, example_input, float_file, precision, calibration)

        return replace(kind, convert=convert)

    def require_precision(self, precision: Precision) -> None:
        """Raise UsageError where the format is not written in a precision."""
        if precision not in self.precisions:
            raise UsageError(
                f"{self.name} files are written as {', '.join(self.precisions)}, not as {precision}; choose another "
                "precision=, or a device that runs another format."
            )

    def load(self, content: bytes) -> FileModel:
        """Return what runs a file; raise UnsupportedModelError where it is damaged."""
        with _damage_explained():
            return self.model(content)

    def load_quantized(self, content: bytes, precision: Precision) -> FileModel:
        """Return what runs a file in a precision; raise UnsupportedModelError where the runtime refuses it."""
        try:
            return self.load(content)
        except UnsupportedModelError as error:
            reason: BaseException = error
            while reason.__cause__ is not None:
                reason = reason.__cause__
            raise UnsupportedModelError(
                f"the runtime refuses this network in {precision} ({first_line(reason)}), as where some "
                "layer gives all but zeros on the training images; choose another precision=, such as int8-dynamic."
            ) from error

    def read(self, content: bytes) -> Graph:
        """Return the graph of a file; raise UnsupportedModelError where it is damaged."""
        with _damage_explained():
            graph = self.graph(content)
            graph.operators()  # finds what leads nowhere
            return graph


@contextmanager
def _damage_explained() -> Iterator[None]:
    """Have whatever a damaged file makes a library raise told in one line."""
    try:
        yield
    except UnsupportedModelError as error:
        raise UnsupportedModelError(shorten(str(error), LONGEST_REASON)) from error
    except AmcHwError:
        raise
    except Exception as error:
        reason = shorten(f"{type(error).__name__}: {error}", LONGEST_REASON)
        raise UnsupportedModelError(f"the file is damaged ({reason}); export it again.") from error


def _tflite_graph(content: bytes) -> Graph:
    from amc_hw.formats.tflite.graph import TfliteGraph

    return TfliteGraph(content)


def _aten_graph(content: bytes) -> Graph:
    from amc_hw.formats.aten.graph import AtenGraph

    return AtenGraph(content)


def _pte_graph(content: bytes) -> Graph:
    from amc_hw.formats.executorch.graph import PteGraph

    return PteGraph(content)


def _onnx_graph(content: bytes) -> Graph:
    from amc_hw.formats.onnx.graph import OnnxGraph

    return OnnxGraph(content)


FORMATS = {
    "tflite": Format(
        "tflite",
        to_tflite,
        TfliteModel,
        _tflite_graph,
        quantized,
        left_in_float,
        between_parts,
        partial(quantized, io="int8"),
    ),
    "onnx": Format("onnx", to_onnx, OnnxModel, _onnx_graph, onnx_quantized, onnx_left_in_float),
    "pte": Format(
        "pte",
        to_pte,
        PteModel,
        _pte_graph,
        left_in_float=pte_left_in_float,
        quantize_network=pte_quantized,
    ),
    "aten": Format("aten", to_aten, AtenModel, _aten_graph, rounded, scoring_batch=32),
}


def find_format(name: str) -> Format:
    """Return a format by its name; raise UsageError with the nearest name where there is none."""
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name]


def load_file(file: Path) -> FileModel:
    """Load an exported file; its ending tells the format.

    Raises:
        UsageError: there is no such file, or its ending is no format's.
        UnsupportedModelError: the file is damaged.
    """
    if not file.is_file():
        raise UsageError(f"{file} does not exist; check its path.")
    require_ending(file)
    try:
        return FORMATS[file.suffix.removeprefix(".")].load(file.read_bytes())
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{file}: {error}") from error
