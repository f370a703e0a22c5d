"""Writes a network as a file that devices run: TFLite through LiteRT's converter, channels last.

Outputs are compared with PyTorch's before a file is called good.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from amc_hw.errors import DeviceError, UnsupportedModelError
from amc_hw.pruning.folding import folded
from amc_hw.run_folder import write_bytes

TOLERANCE = 1e-4
"""Largest difference to PyTorch's outputs that is let pass, relative to the largest output."""


def to_tflite(model: nn.Module, example_input: Tensor) -> bytes:
    """Convert a network to TFLite with channel-last input (N, H, W, C), float32.

    Args:
        model: any network; it is not changed.
        example_input: (N, C, H, W); N becomes the file's batch size.

    Raises:
        UnsupportedModelError: the converter refused the network.
        DeviceError: LiteRT's converter is not installed.
    """
    with _quiet():
        try:
            import litert_torch
        except ImportError as error:
            raise DeviceError("TFLite export needs LiteRT's converter: pip install litert-torch") from error
        # The converter folds batch-norms, too; doing it first halves its time.
        channels_last = litert_torch.to_channel_last_io(folded(model).cpu(), args=[0])
        images = example_input.detach().cpu().permute(0, 2, 3, 1).contiguous()
        try:
            with torch.no_grad():
                converted = litert_torch.convert(channels_last, (images,))
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.tflite"
                converted.export(str(file))
                return file.read_bytes()
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UnsupportedModelError(f"LiteRT's converter cannot convert this network: {reason}") from error


def export_tflite(model: nn.Module, example_input: Tensor, path: Path) -> None:
    """Write ``model`` as a TFLite file and check that it computes the same.

    Raises:
        UnsupportedModelError: the network cannot be converted, or the file's outputs differ from PyTorch's.
        RunFolderError: the file cannot be written.
    """
    content = to_tflite(model, example_input)
    write_bytes(path, content)
    difference = output_difference(model, content, example_input)
    if not difference <= TOLERANCE:
        raise UnsupportedModelError(
            f"{path} computes something else than the PyTorch network (relative difference {difference:.1e}); "
            "the converter mistook one of its operators."
        )


def output_difference(model: nn.Module, tflite: bytes, example_input: Tensor) -> float:
    """Return the largest difference between the outputs of both, relative to PyTorch's largest output."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        expected = model(example_input)
    model.train(was_training)
    if not isinstance(expected, Tensor):
        return 0.0
    actual = TfliteModel(tflite)(example_input.numpy())
    reference = expected.numpy()
    return float(np.abs(actual - reference).max() / max(np.abs(reference).max(), 1e-6))


class TfliteModel:
    """Runs a TFLite file in this process, for checking and evaluation (not for timing).

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: this is no TFLite model.
    """

    def __init__(self, content: bytes) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise DeviceError("running a TFLite file needs LiteRT: pip install ai-edge-litert") from error
        with _quiet():
            try:
                self._interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise UnsupportedModelError(f"this is not a TFLite model that LiteRT can run: {error}") from error
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self.input_shape: tuple[int, ...] = tuple(int(size) for size in self._input["shape"])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the outputs for ``images`` (N, C, H, W float32), one batch of the file's own size at a time."""
        batch = self.input_shape[0]
        outputs = []
        for start in range(0, len(images) - batch + 1, batch):
            part = np.ascontiguousarray(images[start : start + batch].transpose(0, 2, 3, 1))
            self._interpreter.set_tensor(self._input["index"], part)
            self._interpreter.invoke()
            outputs.append(self._interpreter.get_tensor(self._output["index"]))
        return np.concatenate(outputs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's progress messages, from Python and from C++, off the terminal."""
    logging_level = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        _file_descriptor_silenced(2),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging_level)


@contextlib.contextmanager
def _file_descriptor_silenced(number: int) -> Iterator[None]:
    kept = os.dup(number)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)
