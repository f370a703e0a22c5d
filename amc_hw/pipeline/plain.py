"""The network that a run compresses: with plain weights, as the run's folder has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from amc_hw.models.checkpoint import read_own_checkpoint
from amc_hw.tracing.inputs import as_written, spread
from amc_hw.tracing.plain import with_plain_weights
from amc_hw.training.trial import tell

_COUNTER = "num_batches_tracked"


def made_plain(
    model: nn.Module, example: Callable[[], Any], baseline: Path, *, quiet: bool = False
) -> tuple[nn.Module, str]:
    """Return a network with plain weights, and what was done for it, a sentence, which is said.

    A run that was begun with the network as it is (by an earlier version) goes on with it.

    Args:
        model: the network; it is not changed.
        example: gives one input in a batch of its own (`amc_hw.tracing.inputs`), whose shape counts; it is asked where
            there may be something to do.
        baseline: the run's file of the trained weights, which may be missing.
        quiet: the user knows what is done.
    """
    if baseline.exists() and _has_its_tensors(model, baseline):
        return model, ""
    one = example()
    plain, note = with_plain_weights(spread(model, one), one)
    if note and not quiet:
        tell("%s", note)
    return (as_written(plain), note) if note else (model, "")


def _has_its_tensors(model: nn.Module, baseline: Path) -> bool:
    names = {name for name in model.state_dict() if not name.endswith(_COUNTER)}
    return names == {name for name in read_own_checkpoint(baseline) if not name.endswith(_COUNTER)}
