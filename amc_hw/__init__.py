"""amc-hw: compress a network to a latency budget measured on the device it will run on."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amc_hw.api import Compressed, compress
    from amc_hw.budget.cost import Cost
    from amc_hw.errors import AmcHwError
    from amc_hw.formats.export import export
    from amc_hw.models.checkpoint import load_checkpoint, save_checkpoint
    from amc_hw.pipeline.library import latency_cost, macs_cost, open_device, run_study, search_space, trace
    from amc_hw.pipeline.load import load
    from amc_hw.pruning.pruner import Pruner
    from amc_hw.runs.folder import RunFolder
    from amc_hw.search.space import SearchSpace
    from amc_hw.tasks.labelled import MultiLabel
    from amc_hw.tasks.outputs import OriginalOutputs
    from amc_hw.tasks.task import OwnTask, Task

__version__ = "0.2.0"
__all__ = [
    "AmcHwError",
    "Compressed",
    "Cost",
    "MultiLabel",
    "OriginalOutputs",
    "OwnTask",
    "Pruner",
    "RunFolder",
    "SearchSpace",
    "Task",
    "compress",
    "export",
    "latency_cost",
    "load",
    "load_checkpoint",
    "macs_cost",
    "open_device",
    "run_study",
    "save_checkpoint",
    "search_space",
    "trace",
]
_MODULES = {
    "amc_hw.api": ("Compressed", "compress"),
    "amc_hw.budget.cost": ("Cost",),
    "amc_hw.errors": ("AmcHwError",),
    "amc_hw.formats.export": ("export",),
    "amc_hw.models.checkpoint": ("load_checkpoint", "save_checkpoint"),
    "amc_hw.pipeline.library": ("latency_cost", "macs_cost", "open_device", "run_study", "search_space", "trace"),
    "amc_hw.pipeline.load": ("load",),
    "amc_hw.pruning.pruner": ("Pruner",),
    "amc_hw.runs.folder": ("RunFolder",),
    "amc_hw.search.space": ("SearchSpace",),
    "amc_hw.tasks.labelled": ("MultiLabel",),
    "amc_hw.tasks.outputs": ("OriginalOutputs",),
    "amc_hw.tasks.task": ("OwnTask", "Task"),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: importing amc_hw alone loads no heavy library."""
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'amc_hw' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Name what is not loaded yet, too, for completion."""
    return sorted({*globals(), *__all__})
