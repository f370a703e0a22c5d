"""Where tensors are worked on: this machine's NVIDIA GPU where PyTorch can use one, else its processor."""

from __future__ import annotations

import torch

from amc_hw.errors import UsageError
from amc_hw.processes import local_rank, process_count
from amc_hw.runs.names import require_compute_name

CPU = torch.device("cpu")


def find_compute(name: str | None = None) -> torch.device:
    """Return where to train, to score and to reconstruct; results of the CPU are the same on every run.

    Args:
        name: ``cpu``, ``cuda`` or ``cuda:1``; None is the GPU where there is one. Of torchrun's processes each has a
            GPU of its own.

    Raises:
        UsageError: another name, or a GPU that is not here; the message says why.
    """
    require_compute_name(name)
    own = "cuda" if process_count() == 1 else f"cuda:{local_rank()}"
    if name is None:
        name = own if torch.cuda.is_available() else "cpu"
    elif name == "cuda":
        name = own
    kind, _, number = name.partition(":")
    if kind == "cuda" and (reason := _no_cuda(int(number or 0))):
        raise UsageError(f"no CUDA device here for compute={name}, because {reason}.")
    return torch.device(name)


def _no_cuda(number: int) -> str:
    """Say why PyTorch cannot use a GPU and what helps, or "" where it can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install one that has it, or take compute=cpu"
    if not torch.cuda.is_available():
        return "PyTorch sees no GPU; does nvidia-smi list one? If not, take compute=cpu"
    count = torch.cuda.device_count()
    return "" if number < count else f"there {'is one GPU' if count == 1 else f'are {count} GPUs'}, counted from cuda:0"
