"""Tasks from a user's own file: ``path/to/file.py:object``."""

from __future__ import annotations

from torch import nn

from amc_hw.models.user_file import load_object
from amc_hw.tasks.by_task import require_task
from amc_hw.tasks.task import Task


def load_task(name: str, model: nn.Module) -> Task:
    """Run the file and return its task: an object, or what a function or a class returns.

    Args:
        name: ``path/to/file.py:object``.
        model: the original with its weights, which a function gets if it takes ``model``.

    Raises:
        UsageError: the file or the object is missing, fails, or is no task.
    """
    task: Task = load_object(name, lambda found: hasattr(found, "score"), model=model)
    require_task(task)
    return task
