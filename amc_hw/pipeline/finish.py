"""From the chosen policy to the proof: fine-tune, export, benchmark on the device, evaluate on the test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from amc_hw.budget.budget import Budget, parse_budget
from amc_hw.data.dataset import Part
from amc_hw.devices.base import Device
from amc_hw.errors import UsageError, WrongRunError, unknown_name
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.formats.registry import export as export_file
from amc_hw.latency.table import load_table
from amc_hw.models.checkpoint import load_own_checkpoint, save_checkpoint
from amc_hw.pipeline.events import epoch_events
from amc_hw.pipeline.search import chosen_candidate, parse_budgets, read_policy
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.processes import is_first_process
from amc_hw.profiling.benchmark import Protocol, benchmark, write_benchmark
from amc_hw.profiling.deployed import MODEL, ORIGINAL, exported
from amc_hw.profiling.profile import TABLE
from amc_hw.profiling.timing import Timing, share_doubt
from amc_hw.pruning.surgery import shrink
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import maker, read_json, write_json
from amc_hw.search.study import StudyResult
from amc_hw.training.loop import SMALL, History, evaluate, recovery_settings, train

Progress = Callable[[int, int, str], None]

PRUNED, FINETUNED = "pruned.pt", "model.pt"
SUMMARY, BENCHMARK, FINETUNE = "summary.json", "benchmark.json", "finetune.json"
EVALUATION_BATCH = 50


def restore(run: Path, trained: TrainedModel, weights: str) -> nn.Module:
    """Rebuild the run's compressed network with the weights of one of its files.

    Raises:
        WrongRunError: the run has no policy or no such weights yet.
        RunFolderError: one of these files is damaged.
    """
    policy = read_policy(run)["channels"]
    if not (run / weights).exists():
        raise WrongRunError(f"{run / weights} is missing; make it with: {maker(run / weights)}")
    model = shrink(trained.model, trained.network, {group: range(count) for group, count in policy.items()})
    load_own_checkpoint(model, run / weights)
    return model.eval()


def finetune(
    run: Path, trained: TrainedModel, epochs: int, seed: int, progress: Progress, *, learn_search: bool = True
) -> nn.Module:
    """Fine-tune the pruned network of a run, or go on where that stopped; the weights are kept as model.pt.

    Args:
        run: the run folder.
        trained: the original network, which teaches.
        epochs: passes over the training images; 0 keeps the pruned weights.
        seed: of the images' order and their augmentation.
        progress: called with (done, total, text).
        learn_search: learn the search split, too, as may be done after the last search; of small data sets
            (`amc_hw.training.loop.SMALL`) it is never learned, because it chooses the weights.
    """
    model = restore(run, trained, PRUNED)
    learn_search = learn_search and len(trained.data.train) >= SMALL
    data = trained.data.with_search_learned() if learn_search else trained.data
    history = None
    if epochs:
        with epoch_events(run) as write_events:
            history = train(
                model,
                data,
                epochs=epochs,
                **recovery_settings(len(data.train)),
                seed=seed,
                teacher=trained.model,
                device=trained.compute,
                progress=progress,
                state_path=run / f"finetune-{epochs}.state",
                epochs_told=write_events,
            )
    if is_first_process():
        if history is not None:
            write_json(run / FINETUNE, _document(history, learn_search))
        save_checkpoint(model, run / FINETUNED)
    return model


def _document(history: History, search_learned: bool) -> dict[str, Any]:
    """Return what finetune.json holds."""
    return {
        "format": 1,
        "search_split_learned": search_learned,
        "start_accuracy": history.start_accuracy,
        "kept_epoch": history.kept_epoch,
        "epochs": [
            {"epoch": epoch + 1, "train_loss": loss, "search_accuracy": accuracy}
            for epoch, (loss, accuracy) in enumerate(zip(history.losses, history.accuracies, strict=True))
        ],
    }


def search_split_learned(run: Path) -> bool:
    """Tell whether the run's last fine-tuning learned the search split."""
    return (run / FINETUNE).exists() and bool(read_json(run / FINETUNE)["search_split_learned"])


def best_weights(run: Path) -> str:
    """Return the name of the run's furthest weights: fine-tuned, or only pruned."""
    return FINETUNED if (run / FINETUNED).exists() else PRUNED


def batch_of(run: Path) -> int:
    """Return the batch size of the device that a run was made for."""
    table = run / TABLE
    return load_table(table).fingerprint.batch_size if table.exists() else 1


def export(run: Path, trained: TrainedModel, format_name: str, batch_size: int = 1) -> Path:
    """Write the run's network as ``tflite``, ``onnx`` or as a ``torch`` exported program.

    Raises:
        UsageError: an unknown format.
        UnsupportedModelError: the network cannot be converted.
    """
    model = restore(run, trained, best_weights(run))
    example = trained.example.expand(batch_size, -1, -1, -1)
    if format_name in FORMATS:
        path = run / f"{MODEL}.{format_name}"
        export_file(model, example, path)
        return path
    if format_name == "torch":
        path = run / f"{MODEL}.pt2"
        program = torch.export.export(model, (example,))
        torch.export.save(program, path)
        return path
    raise unknown_name("format", format_name, (*FORMATS, "torch"))


def evaluate_file(file: Path, part: Part, progress: Progress) -> float:
    """Return the top-1 accuracy of an exported file as a fraction.

    Raises:
        UsageError: the file does not exist, takes other images than the data set has, or tells fewer classes apart.
    """
    model = load_file(file)
    classes, correct, done = int(part.labels.max()) + 1, 0, 0
    for images, labels in part.batches(EVALUATION_BATCH):
        if model.image_size != tuple(images.shape[1:]):
            raise UsageError(
                f"{file.name} takes images of (channels, height, width) {model.image_size}, "
                f"the data has {tuple(images.shape[1:])}."
            )
        scores = np.asarray(model(images.numpy()))
        numbers = scores.size / len(images)
        if numbers < classes or numbers % 1:
            raise UsageError(
                f"{file.name} gives {numbers:g} numbers for an image, the data has {classes} classes; "
                "export the network with a score for each class."
            )
        correct += int((scores.reshape(len(images), -1).argmax(1) == labels.numpy()).sum())
        done += len(images)
        progress(done, len(part), f"evaluating {file.name}")
    return correct / len(part)


def benchmark_run(run: Path, device: Device, progress: Progress) -> dict[str, Timing]:
    """Benchmark the compressed file beside the original and keep every sample."""
    files = {"original": exported(run, ORIGINAL, device.format), "compressed": exported(run, MODEL, device.format)}
    timings = benchmark(device, files, Protocol(), progress)
    write_benchmark(run / BENCHMARK, device, Protocol(), timings)
    return timings


def share_used(config: RunConfig, timings: Mapping[str, Timing]) -> float:
    """Return the share of its latency budget that a run uses by its last benchmark; 0 where none was measured."""
    if not timings or config.metric != "latency_ms":
        return 0.0
    return _share(config, timings["compressed"].latency_ms, timings["original"].latency_ms)


def doubt_of_share(config: RunConfig, timings: Mapping[str, Timing]) -> float:
    """Return the standard error of `share_used`, as a share of it."""
    return share_doubt(parse_budget(config.metric, config.budget), timings["compressed"], timings["original"])


def share_found(config: RunConfig, chosen: Mapping[str, Any]) -> float:
    """Return the share of its latency budget that the policy of policy.json used when it was chosen."""
    candidate = chosen_candidate(chosen)
    return _share(config, candidate["measured_ms"], candidate["original_ms"])


def _share(config: RunConfig, latency_ms: float, original_ms: float) -> float:
    return latency_ms / parse_budget(config.metric, config.budget).allowed(original_ms)


def _allowed(budget: Budget, original: float) -> dict[str, Any]:
    """Return what summary.json holds of a budget."""
    return {"metric": budget.metric, "target": budget.allowed(original), "ratio": budget.ratio}


def summarise(
    run: Path,
    config: RunConfig,
    trained: TrainedModel,
    device: Device,
    timings: dict[str, Timing],
    predicted_original_ms: float,
    study: StudyResult,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate both files on the test set, once, and write summary.json.

    Without timings the summary is marked unverified, and a share of the original's latency is of its prediction.
    """
    chosen = read_policy(run)
    policy, original = chosen["channels"], trained.network.original
    original_file, file = exported(run, ORIGINAL, device.format), exported(run, MODEL, device.format)
    base = {
        "latency_ms": timings["original"].latency_ms if timings else None,
        "macs": trained.network.macs(original),
        "params": trained.network.params(original),
        "size_bytes": original_file.stat().st_size,
    }
    budget, *limits = (
        _allowed(budget, base[budget.metric] or predicted_original_ms) for budget in parse_budgets(config)
    )
    test = trained.data.test
    summary = {
        "format": 1,
        "model": config.model,
        "data": config.data,
        "device": device.fingerprint().model_dump(),
        "budget": budget,
        "limits": limits,
        "original": {
            "accuracy": evaluate_file(original_file, test, progress),
            **base,
            "predicted_ms": predicted_original_ms,
        },
        "compressed": {
            "accuracy_before_finetune": evaluate(restore(run, trained, PRUNED), test, device=trained.compute),
            "accuracy": evaluate_file(file, test, progress),
            "macs": trained.network.macs(policy),
            "params": trained.network.params(policy),
            "latency_ms": timings["compressed"].latency_ms if timings else None,
            "predicted_ms": chosen["predicted_ms"],
            "size_bytes": file.stat().st_size,
            "channels": policy,
        },
        "search": {
            "strategy": config.strategy,
            "episodes": len(study.episodes),
            "seconds": sum(episode.seconds for episode in study.episodes),
            "seed": config.seed,
        },
        "artifacts": {
            device.format: file.name,
            f"original_{device.format}": original_file.name,
            "torch": FINETUNED,
        },
        "unverified": not timings,
        "test_images": len(test),
        "image_size": list(trained.data.image_size),
    }
    write_json(run / SUMMARY, summary)
    return summary
