"""From the chosen policy to the proof: fine-tune, export, benchmark on the device, evaluate on the test set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from amc_hw.budget.budget import Budget
from amc_hw.devices.base import Device
from amc_hw.errors import CheckpointError, RunFolderError, unknown_name
from amc_hw.formats import program
from amc_hw.formats.export import export as export_file
from amc_hw.formats.export import quantize_file
from amc_hw.formats.registry import FORMATS
from amc_hw.latency.read_table import load_table
from amc_hw.models.checkpoint import load_own_checkpoint, save_checkpoint
from amc_hw.pipeline.events import epoch_events
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.other_devices import OtherDevice
from amc_hw.pipeline.smaller_files import smaller_files, timed_as
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.processes import is_first_process
from amc_hw.profiling.benchmark import benchmark, benchmark_record, write_logs
from amc_hw.profiling.protocol import Protocol
from amc_hw.profiling.timing import Timing, is_undecided
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import Epoch, Finetune
from amc_hw.tasks.goal import Finetuning
from amc_hw.tracing.inputs import repeated
from amc_hw.training.recipe import SMALL
from amc_hw.training.state import History, digest

_LOG = logging.getLogger(__name__)


def finetune(
    run: RunFolder, trained: TrainedModel, epochs: int, seed: int, progress: Progress, *, learn_search: bool = True
) -> nn.Module:
    """Fine-tune the pruned network of a run, or go on where that stopped; the weights are kept as model.pt.

    Args:
        run: the run folder.
        trained: the original network, which teaches.
        epochs: passes over the training images; 0 keeps the pruned weights.
        seed: of the images' order and their augmentation.
        progress: is told how far the work is.
        learn_search: learn the validation split, too, as may be done after the last search; of small data sets
            (`amc_hw.training.recipe.SMALL`) it is never learned, because it chooses the weights.
    """
    model = restore(run, trained, run.pruned)
    learn_search = learn_search and trained.task.training_images >= SMALL
    if epochs and _is_finetuned(run, model, epochs, learn_search):
        return model
    history = None
    if epochs:
        with epoch_events(run) as write_events:
            how = Finetuning(epochs, seed, learn_search, progress, run.finetune_state(epochs), write_events)
            history = trained.task.finetune(trained.as_shipped(model), trained.model, how)
    if is_first_process():
        if history is not None:
            run.finetune.write(_record(history, learn_search, digest(model)))
        save_checkpoint(model, run.finetuned)
    return model


def _is_finetuned(run: RunFolder, model: nn.Module, epochs: int, learn_search: bool) -> bool:
    """Tell whether finetune.json and model.pt are of the same, finished fine-tuning, and load these weights then."""
    pruned = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    try:
        known = run.finetune.read()
        load_own_checkpoint(model, run.finetuned)
        if (known.weights, len(known.epochs), known.search_split_learned) == (digest(model), epochs, learn_search):
            return True
    except (RunFolderError, CheckpointError):  # it goes on from its state then
        pass
    model.load_state_dict(pruned)
    return False


def _record(history: History, search_learned: bool, weights: str) -> Finetune:
    """Return what finetune.json holds."""
    curves = zip(history.losses, history.accuracies, strict=True)
    return Finetune(
        weights=weights,
        search_split_learned=search_learned,
        start_accuracy=history.start_accuracy,
        kept_epoch=history.kept_epoch,
        epochs=[
            Epoch(epoch=epoch, train_loss=loss, search_accuracy=accuracy)
            for epoch, (loss, accuracy) in enumerate(curves, start=1)
        ],
    )


def search_split_learned(run: RunFolder) -> bool:
    """Tell whether the run's last fine-tuning learned the validation split."""
    known = run.finetune.find()
    return known is not None and known.search_split_learned


def batch_of(run: RunFolder) -> int:
    """Return the batch size of the device that a run was made for."""
    return load_table(run.table).fingerprint.batch_size if run.table.exists() else 1


def export(
    run: RunFolder, trained: TrainedModel, format_name: str, batch_size: int = 1, into: RunFolder | None = None
) -> Path:
    """Write the run's network as ``tflite``, ``onnx``, ``aten``, or ``pt2``, a program of torch.export.

    Args:
        run: the run folder.
        trained: its original network.
        format_name: of the file.
        batch_size: images for each run of the file, which is in the run's precision where the format has that; beside
            it stands one in fp32 then.
        into: the folder of the files, by default the run's own.

    Raises:
        UsageError: an unknown format.
        UnsupportedModelError: the network cannot be converted.
        WrongRunError: the run has no network yet.
    """
    model, into = restore(run, trained, run.best_weights), into or run
    example = repeated(trained.example, batch_size)
    if format_name in FORMATS:
        path, precision, io = into.model(format_name), trained.precision, trained.io
        if precision not in FORMATS[format_name].precisions:
            _LOG.warning("%s files are not written in %s; this one is in fp32.", format_name, precision)
            precision, io = "fp32", "float32"
        if precision == "fp32":
            export_file(model, example, path)
        else:
            export_file(model, example, float_path := into.float_model(format_name))
            quantize_file(float_path, model, example, path, precision, trained.calibration, io)
        return path
    if format_name in (program.ENDING, "torch"):
        path = into.model(program.ENDING)
        export_file(model, example, path)
        return path
    raise unknown_name("format", format_name, (*FORMATS, program.ENDING))


def benchmark_run(run: RunFolder, device: Device, budget: Budget, progress: Progress) -> dict[str, Timing]:
    """Benchmark the compressed file beside the original and keep every sample; see `_benchmarked`."""
    files = {"original": run.original(device.format), "compressed": run.model(device.format)}
    smaller = {timed_as(name): file for name, file in smaller_files(run, device).items()}
    return _benchmarked(run, device, files | in_other_precisions(run, device) | smaller, budget, progress)


def prove_elsewhere(run: RunFolder, trained: TrainedModel, other: OtherDevice, progress: Progress) -> dict[str, Timing]:
    """Export the run's network for a further device and benchmark it there; no timings where that is out of reach."""
    folder, device, of = other.folder, other.device, other.budget.of
    export(run, trained, device.format, device.fingerprint().batch_size, folder)
    if not device.in_reach:
        return {}
    files = {"original": folder.original(device.format), "compressed": folder.model(device.format)}
    if of != "fp32":
        files[original_of(other.budget)] = folder.original(device.format, of)
    return _benchmarked(folder, device, files, other.budget, progress)


def _benchmarked(
    folder: RunFolder, device: Device, files: Mapping[str, Path], budget: Budget, progress: Progress
) -> dict[str, Timing]:
    """Benchmark files until their latencies are known, and whether a budget of the latency is kept."""

    def is_decided(timings: Mapping[str, Timing]) -> bool:
        if budget.metric != "latency_ms":
            return True
        return not is_undecided(budget, timings["compressed"], timings[original_of(budget)])

    timings = benchmark(device, files, Protocol(), progress, is_decided)
    folder.benchmark.write(benchmark_record(device, Protocol(), timings))
    write_logs(folder.logs, timings)
    return timings


def in_other_precisions(run: RunFolder, device: Device) -> dict[str, Path]:
    """Return the files beside the original in fp32 and the compressed network as it ships, by what they are.

    There are none where these two are the same network in two precisions.
    """
    if device.precision == "fp32" or (run.policy.read().is_original and not run.finetune.path.exists()):
        return {}
    return {
        f"original in {device.precision}": run.original(device.format, device.precision),
        "compressed in fp32": run.float_model(device.format),
    }


def original_of(budget: Budget) -> str:
    """Return what the files of a last benchmark call the original that a share is of."""
    return "original" if budget.of == "fp32" else f"original in {budget.of}"
