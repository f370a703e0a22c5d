"""Feeds a file of a fixed batch size with any number of images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Arrays = Sequence[np.ndarray]
"""Inputs or outputs of a file, each (N, ...)."""


def in_batches(runs: Sequence[Callable[[Arrays], Arrays]], inputs: Arrays, batch: int) -> list[np.ndarray]:
    """Run inputs in batches of exactly ``batch``; the last one is filled up with its own last input.

    Args:
        runs: take a batch each; where there are several, they share the batches, each in a thread of its own.
        inputs: each (N, ...).
        batch: inputs of a batch.
    """

    def some(run: Callable[[Arrays], Arrays], starts: range) -> list[list[np.ndarray]]:
        outputs: list[list[np.ndarray]] = []
        for start in starts:
            part = [each[start : start + batch] for each in inputs]
            missing = batch - len(part[0])
            filled = [np.concatenate([each, each[-1:].repeat(missing, axis=0)]) if missing else each for each in part]
            outputs.append([each[: batch - missing] for each in run(filled)])
        return outputs

    starts = range(0, len(inputs[0]), batch)
    size = max(1, -(-len(starts) // len(runs)))
    shares = [starts[first : first + size] for first in range(0, len(starts), size)]
    if len(shares) > 1:
        with ThreadPoolExecutor(len(shares)) as pool:
            done = list(pool.map(some, runs, shares))
    else:
        done = [some(runs[0], starts)]
    return [np.concatenate(each) for each in zip(*itertools.chain(*done), strict=True)]


def channels_last(inputs: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) as (N, H, W, C), and other inputs as they are."""
    return np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)) if inputs.ndim == 4 else inputs


def whole_batches(inputs: Arrays, batch: int) -> Iterator[list[np.ndarray]]:
    """Yield inputs, each (N, ...), in batches of exactly ``batch``.

    A rest that fills no batch is left out, fewer inputs than one batch are repeated.
    """
    size = max(batch, len(inputs[0]) // batch * batch)
    whole = [np.resize(each, (size, *each.shape[1:])) for each in inputs]
    for start in range(0, size, batch):
        yield [each[start : start + batch] for each in whole]
