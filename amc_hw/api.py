"""The Python interface: compress a network of one's own, with one's own data, or a task of one's own."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from amc_hw.data.dataset import Data, load_data
from amc_hw.data.names import require_data
from amc_hw.errors import UsageError, unknown_name
from amc_hw.pipeline.begin import Own
from amc_hw.pipeline.compress import compress_job
from amc_hw.pipeline.job import opened_job
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.settings import checked_config
from amc_hw.runs.config import RunConfig, user_settings
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.tasks.by_task import require_task, with_inputs
from amc_hw.tasks.task import Task
from amc_hw.tracing.inputs import as_written
from amc_hw.training.compute import find_compute

IMAGE_DIMENSIONS = 4
"""Of a batch of images: N, C, H, W."""


@dataclass(frozen=True)
class Compressed:
    """What came out.

    Attributes:
        model: the compressed network, fine-tuned, in evaluation mode.
        summary: accuracy, latency, MACs and parameters before and after; what summary.json holds.
        run: the run folder, with the exported model and report.html.
    """

    model: nn.Module
    summary: dict[str, Any]
    run: Path


def compress(
    model: nn.Module,
    example_input: Any,
    *,
    data: Data | str | None = None,
    task: Task | None = None,
    run: Path | str = "runs/compress",
    evaluate: Callable[[nn.Module], float] | None = None,
    smaller: Mapping[str, nn.Module] | None = None,
    compute: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    **settings: Any,
) -> Compressed:
    """Compress a trained network to a budget that is proven on the device.

    Args:
        model: trained; it is not changed, but for being put into evaluation mode.
        example_input: a batch of images (N, C, H, W) as the network takes them. With a task, some hundreds of training
            inputs: a batch as the network takes it (a tensor, a tuple or a dict of tensors), or a list or a DataLoader
            of such batches.
        data: a data set whose classes the network tells apart, or its name as on the command line; image folders are
            decoded at the size of the example.
        task: what is good, for every other network: see `amc_hw.tasks.task.Task`, `amc_hw.tasks.task.OwnTask` and
            `amc_hw.tasks.outputs.OriginalOutputs`. Give this or ``data``.
        run: the run folder; the same call goes on where it was stopped.
        evaluate: what the search maximises, 0..1, on images that are not the test set; by default the top-1
            accuracy on the split of the training set. It is called with networks on the CPU.
        smaller: trained networks for the same data or task by names for them, which pruning has to beat: their files
            are timed and tested beside the compressed one, and the summary's ``take`` names one that is better.
        compute: where to train, prune and score: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; by default a GPU if there is one.
        progress: called with (done, total, text).
        settings: everything else that ``amc-hw compress --help`` lists, by the options' names and with their defaults:
            budgets (``latency="0.5x"``, ``macs="150M"``, ``params``, ``size``; of several, all hold), ``device``,
            ``rounds=["0.8x", "0.65x"]``, ``exclude=["layer1.*"]``, ``strategy``, ``episodes``, ``epochs``, ``seed`` ...
            They are the fields of `amc_hw.runs.config.RunConfig` and `amc_hw.runs.config.Budgets`, which say what each
            of them means.

    Raises:
        UsageError: a setting that does not exist or cannot be, or a task that is none, before anything is measured.
        WrongRunError: the folder holds a run of another network, or of other settings, or is where no folder is.
        RunFolderError: the folder cannot be written.
        AmcHwError: see `amc_hw.pipeline.compress.compress`.
    """
    for name in settings:
        if name not in (known := user_settings().keys() - {"model", "checkpoint", "task", "smaller"}):
            raise unknown_name("setting", name, known)
    _require_arguments(model, run, evaluate, progress)
    if smaller is not None:
        settings["smaller"] = _names(smaller)
    folder = RunFolder(Path(run))
    shown = SILENT if progress is None else Progress(lambda update: progress(update.done, update.total, update.text))
    if (data is None) == (task is None):
        raise UsageError("give either data=, of a network that tells classes apart, or task=.")
    if data is not None:
        _require_images(data, example_input)
    if task is not None:
        if evaluate is not None:
            raise UsageError("a task has its own score; leave evaluate= out.")
        require_task(task)
        settings["task"] = type(task).__name__
    if data is not None:
        settings["data"] = data if isinstance(data, str) else data.name
    config = checked_config(folder, compute, own_model=True, **settings, model=type(model).__name__)
    source: Any = _loaded(data, config, example_input) if data is not None else None
    if task is not None:
        source = with_inputs(task, example_input)
    place = find_compute(compute)
    with opened_job(folder.path, config, shown, place, Own(model, source, smaller or {}), evaluate) as (job, shown):
        summary = compress_job(job, shown)
    network = as_written(restore(folder, job.trained, folder.best_weights))
    return Compressed(network, summary.document(), folder.path)


def _require_arguments(model: object, run: object, evaluate: object, progress: object) -> None:
    """Raise UsageError where an argument is of another type than it must be."""
    if not isinstance(model, nn.Module):
        by_name = f"; a network by its name is compressed by: amc-hw compress --model {shlex.quote(str(model))}"
        raise UsageError(
            f"compress() takes a trained network, a torch.nn.Module, not {_shown(model)}"
            f"{by_name if isinstance(model, str) else '.'}"
        )
    if not isinstance(run, str | PathLike):
        raise UsageError(f"run= takes a folder's path, such as run='runs/mine', not {_shown(run)}.")
    for name, function, called_with in (("evaluate", evaluate, "model"), ("progress", progress, "done, total, text")):
        if function is not None and not callable(function):
            raise UsageError(f"{name}= takes a function, called with ({called_with}), not {_shown(function)}.")


def _names(smaller: object) -> dict[str, str]:
    """Return the names of smaller networks as settings have them; raise UsageError where something else is given."""
    named = dict(smaller) if isinstance(smaller, Mapping) else {}
    if not named or not all(
        isinstance(name, str) and name and isinstance(each, nn.Module) for name, each in named.items()
    ):
        raise UsageError(
            "smaller= takes trained networks by names for them, such as smaller={'narrow': network}; leave it out "
            "where there are none."
        )
    return dict.fromkeys(named, "")


def _require_images(data: object, example_input: object) -> None:
    """Raise UsageError where there is no data set, or no batch of images, as far as their types tell."""
    if not isinstance(data, Data | str):
        raise UsageError(
            f"data= takes a data set's name, such as data='digits', or an amc_hw.data.dataset.Data, not {_shown(data)}."
        )
    if not isinstance(example_input, Tensor) or example_input.dim() != IMAGE_DIMENSIONS:
        raise UsageError(
            f"example_input takes a batch of images (N, C, H, W), such as torch.zeros(1, 3, 32, 32), not "
            f"{_shown(example_input)}; networks of other inputs are compressed with task= instead of data=."
        )


def _shown(value: object) -> str:
    """Return an argument's value for a message: a short text or number itself, a tensor's shape, else its type."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value) if value is None or isinstance(value, str | int | float) else type(value).__name__


def _loaded(data: Data | str, config: RunConfig, example_input: Tensor) -> Data:
    """Return a data set, by its name or itself, whose images are like the example."""
    root = Path(config.data_root) if config.data_root else None
    if isinstance(data, str):
        require_data(data, root)
    loaded = load_data(data, root, example_input.shape[-1]) if isinstance(data, str) else data
    if tuple(example_input.shape[1:]) != tuple(loaded.image_size):
        raise UsageError(
            f"the example input is {tuple(example_input.shape[1:])} (C, H, W), but the images of {loaded.name} are "
            f"{tuple(loaded.image_size)}."
        )
    return loaded
