"""What a training has done so far, and the file from which it goes on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.errors import RunFolderError
from amc_hw.models.checkpoint_file import load_plain
from amc_hw.runs.files import write_bytes

_FORMAT = 2


@dataclass
class History:
    """What happened: one entry an epoch; epoch 0 is the network as it came.

    Attributes:
        start_accuracy: on the validation split, before the first epoch.
        losses: mean training loss of each epoch; None where it is not known.
        accuracies: on the validation split, after each epoch.
        kept_epoch: whose weights the model has now, counted from 1; 0 for those it came with.
        kept_accuracy: of those weights, on the validation split.
    """

    start_accuracy: float
    losses: list[float | None] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    kept_epoch: int = 0
    kept_accuracy: float = 0.0


def save_state(path: Path, identity: Mapping[str, object], state: Mapping[str, object]) -> None:
    """Write everything that the next epoch depends on, and which training it belongs to.

    Raises:
        RunFolderError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "identity": identity, **state}, buffer)
    write_bytes(path, buffer.getvalue())


def load_state(path: Path, identity: Mapping[str, object], device: torch.device) -> Mapping[str, Any]:
    """Return a saved state with its tensors on a device.

    Raises:
        RunFolderError: the file is damaged, or belongs to another training.
    """
    try:
        state: Mapping[str, Any] = load_plain(path, device)
        found = {"format": state["format"], **state["identity"]}
    except Exception as error:  # a foreign file makes torch raise almost anything
        raise RunFolderError(f"{path} is no training state; delete it to train from the start.") from error
    expected = {"format": _FORMAT, **identity}
    different = [key for key in expected if found.get(key) != expected[key]]
    if different:
        raise RunFolderError(
            f"{path} is the state of another training ({', '.join(different)} differ); "
            "delete it to train from the start."
        )
    return state


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of the weights, by which a state knows the training that it belongs to."""
    return digest_of(model.state_dict().items())


def digest_of(named: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of tensors with their names and shapes, in order."""
    digest = hashlib.sha256()
    for name, tensor in named:
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
