"""One step of training as a CUDA graph: a small network's kernels take less time than launching them from Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

WARM_UP = 3
MOST_MEMORY = 1 / 3
"""Of the GPU: a graph keeps its activations, and a smaller last batch and the evaluation need their own."""


class Replayed:
    """Computes gradients as a function does, from its fourth call on by replaying what the GPU did for it.

    The function is captured as a whole (https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture).
    Batches of another shape than the first's go to the function itself, and so do all where it waits for the GPU
    (``.item()``), needs much of its memory or cannot be captured.

    Args:
        function: of images and labels on the GPU; leaves gradients in the parameters and returns the loss.
        parameters: those that get gradients.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], parameters: Iterable[nn.Parameter]) -> None:
        self.function, self.parameters = function, list(parameters)
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of a batch in the parameters and return its loss, which the next call overwrites."""
        self.calls += 1
        if self.calls == WARM_UP + 1:
            self._capture(images, labels)
        if self.graph is None or images.shape != self.images.shape:
            return self.function(images, labels)
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # a call of the function itself has put its own there
        return self.loss

    def _capture(self, images: Tensor, labels: Tensor) -> None:
        memory = torch.cuda.get_device_properties(images.device).total_memory
        if torch.cuda.max_memory_reserved(images.device) > MOST_MEMORY * memory:
            return
        self.images, self.labels, graph = images.clone(), labels.clone(), torch.cuda.CUDAGraph()
        try:
            with no_waiting():
                self.function(images, labels)
            with torch.cuda.graph(graph):
                self.loss = self.function(self.images, self.labels)
        except RuntimeError:
            return
        self.gradients, self.graph = [parameter.grad for parameter in self.parameters], graph


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise RuntimeError where the program waits for the GPU, which a capture would not survive."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
