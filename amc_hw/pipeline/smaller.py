"""Smaller networks of the user's for the same data: what pruning has to beat, told before the search."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from amc_hw.devices.base import Device
from amc_hw.errors import UnsupportedModelError, UsageError, in_one_line
from amc_hw.formats.export import export
from amc_hw.models.checkpoint import load_checkpoint
from amc_hw.models.zoo import build_from_file, build_model
from amc_hw.pipeline.originals import Costs, are_kept, export_originals, original_costs, shares_used
from amc_hw.pipeline.settings import parse_budgets
from amc_hw.pipeline.smaller_files import files_of, timed_as
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Metric, Precision
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.deployed import example_for
from amc_hw.profiling.protocol import QUICK
from amc_hw.profiling.timing import Timing
from amc_hw.report.numbers import fixed, percent
from amc_hw.runs.config import CLASSIFY, RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.smaller import SmallerNetwork, SmallerNetworks
from amc_hw.search.scoring import NetworkScore, PartScorer
from amc_hw.tasks.goal import Goal
from amc_hw.tracing.counted import count_macs
from amc_hw.tracing.inputs import spread, tensors_of
from amc_hw.tracing.plain import copyable_copy, with_plain_weights
from amc_hw.tracing.same import outputs
from amc_hw.training.state import digest

_LOG = logging.getLogger(__name__)


def smaller_networks(
    config: RunConfig, original: nn.Module, goal: Goal, own: Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """Return the smaller networks that settings name, or a caller's own, once they are known to do what it does.

    Args:
        config: the settings.
        original: the network that is compressed; it is called as its author has it.
        goal: what it is for.
        own: networks of the caller's own by their names; they are not changed.

    Raises:
        UsageError: one cannot be built, does not take the network's inputs, or gives something else.
        CheckpointError: its weights are not in its checkpoint.
    """
    if not config.smaller:
        return {}
    example = goal.example
    wanted = _shapes(original, example)
    found: dict[str, nn.Module] = {}
    for name, checkpoint in config.smaller.items():
        model = copyable_copy(own[name]) if name in own else _loaded(config, goal, name, Path(checkpoint))
        model = model.cpu().eval().requires_grad_(False)
        try:
            given = _shapes(model, example)
        except Exception as error:  # whatever a forward raises
            raise UsageError(
                f"{name} does not take the inputs of {config.model} ({in_one_line(error)}); as a smaller network, "
                "name one for the same data."
            ) from error
        if given != wanted:
            raise UsageError(
                f"{name} gives {_named(given)} where {config.model} gives {_named(wanted)}; as a smaller network, name "
                "one for the same data and the same classes."
            )
        found[name] = with_plain_weights(spread(model, example), example)[0]
    return found


def hold_against(
    run: RunFolder,
    config: RunConfig,
    trained: TrainedModel,
    device: Device,
    score_of: Callable[[Path], NetworkScore],
    progress: Progress,
) -> None:
    """Ask the device and the task what the smaller networks give in the precision that ships, and say it.

    The run folder keeps it, and their files; asked again is after a change of their weights, of the precision or of a
    budget.

    Args:
        run: the run folder.
        config: the settings.
        trained: the network, and the smaller ones.
        device: is left with files of the precision that ships.
        score_of: what the search maximises, of a file that exists.
        progress: is told how far the work is.

    Raises:
        UnsupportedModelError: one of them cannot be exported.
    """
    weights = {name: digest(model) for name, model in trained.smaller.items()}
    if weights and _is_known(run, config, device, weights):
        return
    run.smaller.path.unlink(missing_ok=True)
    if not weights:
        return
    export_originals(run, trained, device, progress)
    precisions: tuple[Precision, ...] = ("fp32", device.precision)
    originals = {precision: run.original(device.format, precision) for precision in precisions}
    files = files_of(run, device, list(weights))
    for name, file in files.items():
        progress(f"exporting {name}")
        _export(trained, device, name, file)
    beside = {timed_as(name): file for name, file in files.items()}
    timings = benchmark(device, {_in(each): file for each, file in originals.items()} | beside, QUICK, progress)
    costs = {
        each: original_costs(trained.network, timings[_in(each)].latency_ms, file) for each, file in originals.items()
    }
    networks, budgets = [], parse_budgets(config)
    for name, model in trained.smaller.items():
        progress(f"scoring {name}")
        here = _costs(timings[timed_as(name)], files[name], model, trained)
        networks.append(
            _record(name, weights[name], here, shares_used(budgets, here, costs), score_of(files[name])(model))
        )
    whole = score_of(originals[device.precision])
    record = SmallerNetworks(
        precision=device.precision, budgets=_budgets(config), original_score=whole(trained.model), networks=networks
    )
    run.smaller.write(record)
    _tell(record, isinstance(whole, PartScorer))


def _loaded(config: RunConfig, goal: Goal, name: str, checkpoint: Path) -> nn.Module:
    if config.task == CLASSIFY:
        model = build_model(name, goal.data.num_classes, goal.data.image_size[0], seed=config.seed)
    else:
        model = build_from_file(name, seed=config.seed)
    load_checkpoint(model, checkpoint)
    return model


def _shapes(model: nn.Module, example: object) -> list[tuple[int, ...]]:
    return [tuple(each.shape) for each in tensors_of(outputs(spread(model, example), example))]


def _named(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes)) or "no tensor"


def _is_known(run: RunFolder, config: RunConfig, device: Device, weights: Mapping[str, str]) -> bool:
    """Tell whether what the run folder says of smaller networks is of these, within these budgets."""
    known = run.smaller.find()
    return (
        known is not None
        and (known.precision, known.budgets) == (device.precision, _budgets(config))
        and [(each.name, each.weights) for each in known.networks] == list(weights.items())
        and all(file.exists() for file in files_of(run, device, list(weights)).values())
    )


def _budgets(config: RunConfig) -> dict[Metric, str]:
    return {config.metric: config.budget, **config.limits}


def _in(precision: Precision) -> str:
    return f"original in {precision}"


def _export(trained: TrainedModel, device: Device, name: str, file: Path) -> None:
    calibration = None if device.precision == "fp32" else trained.calibration
    model = trained.smaller[name]
    try:
        export(model, example_for(device, trained), file, device.precision, calibration, trained.io)
    except UnsupportedModelError as error:
        reason = str(error).rstrip(".")
        raise UnsupportedModelError(f"{name}: {reason}; leave it out of smaller=.") from error


def _costs(timing: Timing, file: Path, model: nn.Module, trained: TrainedModel) -> Costs:
    return {
        "macs": count_macs(model, trained.example)[1],
        "params": sum(each.numel() for each in model.parameters()),
        "latency_ms": timing.latency_ms,
        "size_bytes": file.stat().st_size,
    }


def _record(name: str, weights: str, costs: Costs, shares: Costs, score: float) -> SmallerNetwork:
    return SmallerNetwork(
        name=name,
        weights=weights,
        latency_ms=costs["latency_ms"],
        size_bytes=int(costs["size_bytes"]),
        macs=int(costs["macs"]),
        params=int(costs["params"]),
        used=max(shares.values()),
        keeps=are_kept(shares),
        score=score,
    )


def _tell(known: SmallerNetworks, is_accuracy: bool) -> None:
    """Say what each smaller network gives, a line each."""
    of = " of the validation split" if is_accuracy else " as score"
    for each in known.networks:
        scores = f"{percent(each.score)}{of}, where the original has {percent(known.original_score)}"
        if each.keeps:
            _LOG.info(
                "%s in %s holds the budget with %s; the run goes on to see whether pruning beats it.",
                *(each.name, known.precision, scores),
            )
        else:
            over = f"it uses {fixed(each.used, 2)}x of it"
            _LOG.info("%s in %s misses the budget (%s) with %s.", each.name, known.precision, over, scores)
