"""Inputs without labels, gathered from what users have: a batch, a list of batches, or a DataLoader."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.errors import AmcHwError, UsageError, in_one_line
from amc_hw.tracing.inputs import joined, size_of, taken, tensors_of

MOST_BYTES = 2**30
"""Of the inputs that are gathered."""
LEAST = 16
"""Inputs, of which statistics tell something."""

_LOG = logging.getLogger(__name__)


def gathered(inputs: Any, model: nn.Module, most: int | None = None) -> Any:
    """Return inputs as one batch that a network takes.

    Args:
        inputs: one batch (a tensor, a tuple or a dict of tensors), or several of them: a list, a DataLoader, or
            anything else to iterate over. What a tuple has beyond the arguments that the network's forward needs, such
            as labels, is left out, which is said.
        model: the network.
        most: inputs that are wanted; all that fit into 1 GiB otherwise.

    Raises:
        UsageError: there are none, they are no tensors with the batch first, or not all of one size.
    """
    if isinstance(inputs, Tensor | tuple | dict):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise UsageError(f"the inputs are a {type(inputs).__name__}; give a tensor, a list of batches or a DataLoader.")
    batches, count, bytes_ = list[Any](), 0, 0
    needed = _needed(model)
    with torch.random.fork_rng([]):  # a loader that shuffles gives the same inputs to a run that goes on
        torch.manual_seed(0)
        for batch in inputs:
            batches.append(_of_network(batch, needed, quiet=bool(batches)))
            _require_alike(batches[0], batches[-1])
            count += size_of(batches[-1])
            bytes_ += sum(tensor.nbytes for tensor in tensors_of(batches[-1]))
            if (most is not None and count >= most) or bytes_ >= MOST_BYTES:
                break
    if count < LEAST:
        raise UsageError(f"there are {count} inputs; give some hundreds of training inputs, as the network takes them.")
    if any(not tensor.isfinite().all() for batch in batches for tensor in tensors_of(batch)):
        raise UsageError("some inputs are not finite (NaN or infinite); leave those out, or mend what makes them.")
    return taken(joined(batches), slice(most))


def _needed(model: nn.Module) -> int | None:
    """Return how many arguments a network's forward needs by place; None where it takes any number."""
    try:
        known = inspect.signature(getattr(type(model), "_plain", type(model)).forward).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in known):
        return None
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in by_place and each.default is inspect.Parameter.empty for each in known) - 1


def _of_network(batch: Any, needed: int | None, *, quiet: bool) -> Any:
    """Return a batch without what the network does not need."""
    if isinstance(batch, list):  # as a DataLoader gives a tuple
        batch = tuple(batch)
    if isinstance(batch, tuple) and needed is not None and 0 < needed < len(batch):
        if not quiet:
            _LOG.info("of every batch the first %d of %d parts are the network's inputs", needed, len(batch))
        batch = batch[:needed]
    if isinstance(batch, tuple) and len(batch) == 1:
        (batch,) = batch
    tensors = tensors_of(batch)
    if not tensors or any(not tensor.dim() or len(tensor) != len(tensors[0]) for tensor in tensors):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or type(batch).__name__
        raise UsageError(f"a batch of the inputs is {shapes}; give tensors with the batch first, all of one size.")
    return batch


def _require_alike(one: Any, other: Any) -> None:
    first, second = ([tuple(each.shape[1:]) for each in tensors_of(batch)] for batch in (one, other))
    if first != second:
        shapes = " and ".join(", ".join("x".join(map(str, shape)) for shape in batch) for batch in (first, second))
        raise UsageError(f"the inputs of two batches have the sizes {shapes}; give inputs of one size, as files take.")


def drawn(inputs: Any, count: int, seed: int) -> Any:
    """Return so many inputs of a batch (all, where there are fewer), drawn without replacement."""
    return taken(inputs, torch.randperm(size_of(inputs), generator=torch.Generator().manual_seed(seed))[:count])


@contextmanager
def running(inputs: str) -> Iterator[None]:
    """Have whatever a forward raises in the block told in a sentence about the inputs.

    Raises:
        UsageError: the network does not run on them.
    """
    try:
        yield
    except AmcHwError:
        raise
    except Exception as error:
        raise not_running(inputs, error, "give them in the way that its forward takes them") from error


def not_running(inputs: str, error: Exception, cure: str) -> UsageError:
    """Return the error of a network that does not run on inputs, with what its forward raises."""
    return UsageError(f"the network does not run on {inputs} ({in_one_line(error)}); {cure}.")
