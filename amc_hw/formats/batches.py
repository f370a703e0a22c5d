"""Feeds a file of a fixed batch size with any number of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np


def in_batches(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, batch: int) -> np.ndarray:
    """Run ``images`` (N, ...) in batches of exactly ``batch``; the last one is filled up with its own last image."""
    outputs = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        missing = batch - len(part)
        filled = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
        outputs.append(run(filled)[: len(part)])
    return np.concatenate(outputs)


def whole_batches(images: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """Yield ``images`` (N, ...) in batches of exactly ``batch``.

    A rest that fills no batch is left out, fewer images than one batch are repeated.
    """
    whole = np.resize(images, (max(batch, len(images) // batch * batch), *images.shape[1:]))
    for start in range(0, len(whole), batch):
        yield whole[start : start + batch]
