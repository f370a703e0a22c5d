"""The whole way in one call: measure, search, verify, fine-tune, export, benchmark, report.

Every step finds what an earlier call finished in the run folder, so the same call goes on where one stopped.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from amc_hw.budget.network_costs import NetworkCosts, network_costs
from amc_hw.data.dataset import load_data
from amc_hw.devices.base import BusyError, Device
from amc_hw.devices.table_only import TableOnly, open_or_predict
from amc_hw.devices.turns import taking_turns
from amc_hw.errors import BudgetError, UsageError, WrongRunError
from amc_hw.formats.registry import load_file
from amc_hw.latency.table import LatencyTable, load_table
from amc_hw.models.checkpoint import load_checkpoint, load_own_checkpoint, save_checkpoint
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.pipeline import finish
from amc_hw.pipeline.agent import agent_file
from amc_hw.pipeline.rounds import after_rounds, plan_rounds
from amc_hw.pipeline.search import EPISODES, POLICY, parse_budgets, read_policy, search, under_floor, write_policy
from amc_hw.pipeline.shortlist import shortlist
from amc_hw.pipeline.trained import (
    BASELINE,
    TrainedModel,
    image_size_of,
    load_model_and_data,
    require_trainable,
    say_size,
    size_to_begin,
    square_side,
    trace_model,
    trained_model_of,
)
from amc_hw.pipeline.unverified import NOT_VERIFIED, cautions, trust_in_table
from amc_hw.pipeline.verify import Miss, doubts, misses, note_miss, verify
from amc_hw.profiling.check import TableCheck, check_table
from amc_hw.profiling.deployed import MODEL, all_exported
from amc_hw.profiling.profile import TABLE, profile, run_cost
from amc_hw.pruning.importance import find_importance
from amc_hw.report.html import write_report
from amc_hw.runs.config import DEMO_DATA, DEMO_MODEL, RunConfig, open_run, read_config
from amc_hw.runs.file_lock import exclusive
from amc_hw.search.rewards import find_reward
from amc_hw.search.scoring import PartScorer
from amc_hw.search.study import read_study
from amc_hw.training.compute import CPU
from amc_hw.training.loop import demo_settings, evaluate, train
from amc_hw.training.trial import thawed

Progress = Callable[[int, int, str], None]

_LOG = logging.getLogger(__name__)

PROOFS = 3
"""Last benchmarks of a run: after each that misses the budget, the network is made smaller and fine-tuned again."""
TOO_BUSY = 0.05
"""Doubt from which on a miss says more of what else the device does than of the network."""
BUSY_POLL_S = 5.0
"""Between two looks whether a device that one program at a time may open is free; each look disturbs it."""


def compress(run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU) -> dict[str, Any]:
    """Compress a network to its budget and prove it on the device.

    Args:
        run: the run folder; made, or gone on with.
        config: the settings.
        progress: called with (done, total, text).
        compute: where to train, prune and score.

    Returns:
        What summary.json holds.

    Raises:
        AmcHwError: a step failed; what was finished is kept in the run folder.
    """
    with exclusive(run, progress), device_in_turn(config.device, progress, table_of(config)) as (device, progress):
        config, trained = begin(run, config, progress, compute)
        return compress_trained(run, config, trained, device, PartScorer(trained.data.search, compute), progress)


def compress_trained(
    run: Path,
    config: RunConfig,
    trained: TrainedModel,
    device: Device,
    score: Callable[[nn.Module], float],
    progress: Progress,
) -> dict[str, Any]:
    """Compress a network that is loaded already; see `compress`.

    Args:
        run: the run folder, begun with ``config``.
        config: the settings.
        trained: the network.
        device: where the budget must hold.
        score: what the search maximises, 0..1, on images of the training set.
        progress: called with (done, total, text).
    """

    def search_round(folder: Path, settings: RunConfig, trained: TrainedModel, progress: Progress) -> None:
        search_and_verify(folder, settings, trained, device, score, progress)

    require_trainable(trained)
    *earlier, _ = plan_rounds(run, config)
    trained = after_rounds(earlier, trained, search_round, progress)
    costs = search_and_verify(run, config, trained, device, score, progress)
    for proof in range(1, PROOFS + 1):
        finish.finetune(run, trained, config.epochs, config.seed, progress)
        progress(0, 1, "exporting the compressed network")
        finish.export(run, trained, device.format, device.fingerprint().batch_size)
        timings = {} if isinstance(device, TableOnly) else finish.benchmark_run(run, device, progress)
        used = finish.share_used(config, timings)
        if used <= 1 or proof == PROOFS or finish.doubt_of_share(config, timings) > TOO_BUSY:
            break
        _LOG.warning("the last benchmark is %.1f %% over the budget: making the network smaller", 100 * (used - 1))
        chosen = read_policy(run)
        note_miss(run, chosen["channels"], Miss(finish.share_found(config, chosen), used))
        try:
            search_and_verify(run, config, trained, device, score, progress)
        except BudgetError as error:  # what there is stays, and the report says that it misses
            _LOG.warning("%s", error)
            break
    predicted = costs.latency_ms(trained.network.original)
    summary = finish.summarise(run, config, trained, device, timings, predicted, read_study(run / EPISODES), progress)
    write_report(run)
    return summary


def search_and_verify(
    run: Path,
    config: RunConfig,
    trained: TrainedModel,
    device: Device,
    score: Callable[[nn.Module], float],
    progress: Progress,
) -> NetworkCosts:
    """Search a policy and verify it on the device; the run folder then has policy.json and pruned.pt.

    Where the device is known by its table only, nothing is verified, and policy.json says so.
    """
    if isinstance(device, TableOnly):
        _LOG.warning("%s: %s", device.name, NOT_VERIFIED)
    latency, template, error = run_cost(run, device, trained, config.model, table_of(config), config.seed, progress)
    exported = template.file(trained.network.original, np.random.default_rng(0))
    costs = network_costs(trained.network, latency, len(exported))
    if _is_searched(run, config) and (isinstance(device, TableOnly) or not _has_missed(run)):
        return costs
    found = search(run, config, trained, costs, score, error, progress)
    ranked = shortlist(run, trained, found, score, config.seed, progress)
    if isinstance(device, TableOnly):
        verified = trust_in_table(run, trained, found, ranked, device, score, progress)
        told = cautions(run, trained, template)
    else:
        verified = verify(run, trained, found, ranked, device, score, progress)
        told = doubts(found, verified.chosen, load_table(run / TABLE).notes)
    told += under_floor(verified.chosen, config.accuracy_floor)
    for stale in (finish.FINETUNED, finish.FINETUNE, finish.SUMMARY, finish.BENCHMARK):
        (run / stale).unlink(missing_ok=True)
    for file in all_exported(run, MODEL):
        file.unlink(missing_ok=True)
    for state in run.glob("finetune-*.state"):
        state.unlink()
    save_checkpoint(verified.model, run / finish.PRUNED)
    write_policy(run, trained, costs, verified.chosen, verified.candidates, config.episodes, told)
    return costs


def open_trained(run: Path, compute: torch.device = CPU) -> tuple[RunConfig, TrainedModel]:
    """Load the network of a run that has begun; raise WrongRunError where there is none."""
    config = read_config(run)
    if not (run / BASELINE).exists():
        raise WrongRunError(f"{run} has no {BASELINE}; run the search first: amc-hw search --run {run} ...")
    size = image_size_of(config)
    model, data = load_model_and_data(config.model, config.data, config.data_root, config.seed, size)
    model = thawed(model)
    load_own_checkpoint(model, run / BASELINE)
    return config, trained_model_of(config, model, data, compute)


def search_on_device(run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU) -> dict[str, Any]:
    """Search a policy, verify it on the device, and return what policy.json holds; see `compress`."""
    with exclusive(run, progress), device_in_turn(config.device, progress, table_of(config)) as (device, progress):
        config, trained = begin(run, config, progress, compute)
        require_trainable(trained)
        search_and_verify(run, config, trained, device, PartScorer(trained.data.search, compute), progress)
    return read_policy(run)


def profile_model(
    model: str,
    device_name: str,
    table: Path | None,
    image_size: int | None,
    classes: int,
    seed: int,
    progress: Progress,
) -> tuple[LatencyTable, Path]:
    """Measure what a device's table lacks for a network; its weights do not matter.

    Args:
        model: the network's name.
        device_name: the device's name.
        table: the table's file, or None for the device's default one.
        image_size: side in pixels, or None for the network's own.
        classes: outputs of the network.
        seed: decides which channel counts are measured.
        progress: called with (done, total, text).
    """
    size = image_size or default_image_size(model)
    network = build_model(model, classes)
    trained = trace_model(network, (3, size, size))
    with device_in_turn(device_name, progress) as (device, progress):
        measured, path, _ = profile(device, trained, model, table, seed, progress)
    return measured, path


def check_predictions(
    model: str,
    device_name: str,
    table: Path | None,
    image_size: int | None,
    classes: int,
    networks: int,
    seed: int,
    export_all: bool,
    progress: Progress,
) -> TableCheck:
    """Measure random pruned networks beside their predictions; see `amc_hw.profiling.check.check_table`."""
    size = image_size or default_image_size(model)
    with device_in_turn(device_name, progress) as (device, progress):
        trained = trace_model(build_model(model, classes), (3, size, size))
        return check_table(device, trained, model, table, networks, seed, export_all, progress)


def evaluate_on_test(
    file: Path | None, run: Path | None, data: str | None, data_root: Path | None, progress: Progress
) -> tuple[str, float]:
    """Return the name and the top-1 accuracy on the test set of an exported file, or of a run's network.

    Raises:
        UsageError: neither or both are named, or a file comes without its data set.
    """
    if (file is None) == (run is None):
        raise UsageError("name either an exported file or a --run folder.")
    if run is not None:
        _, trained = open_trained(run)
        part = load_data(data, data_root, square_side(trained.data)).test if data else trained.data.test
        for exported in all_exported(run, MODEL):
            if exported.exists():
                return str(exported), finish.evaluate_file(exported, part, progress)
        weights = finish.best_weights(run)
        return str(run / weights), evaluate(finish.restore(run, trained, weights), part)
    if file is None or data is None:
        raise UsageError("a file needs its data set: amc-hw evaluate FILE --data DATA")
    size = load_file(file).image_size
    return str(file), finish.evaluate_file(file, load_data(data, data_root, size[1] if size else None).test, progress)


def _is_searched(run: Path, config: RunConfig) -> bool:
    """Tell whether the run has a verified policy from as many episodes as are asked for.

    Raises:
        RunFolderError: the log of its episodes is damaged; better now than after the benchmark.
    """
    policy, weights, log = run / POLICY, run / finish.PRUNED, run / EPISODES
    if not (policy.exists() and weights.exists() and log.exists()):
        return False
    read_study(log)
    return bool(read_policy(run).get("episodes") == config.episodes)


def _has_missed(run: Path) -> bool:
    """Tell whether the last benchmark found the chosen policy over the budget."""
    return tuple(read_policy(run)["channels"].items()) in misses(run)


def begin(
    run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU
) -> tuple[RunConfig, TrainedModel]:
    """Check everything that the user named, then begin the run folder or go on with it.

    The folder keeps a copy of the trained weights; the demonstration trains them.

    Returns:
        The settings, now with the size of the images, and the network.
    """
    parse_budgets(config)
    plan_rounds(run, config)
    find_reward(config.reward, config.accuracy_floor)
    agent_file(run, config)
    find_importance(config.importance)
    size = size_to_begin(run, config)
    model, data = load_model_and_data(config.model, config.data, config.data_root, config.seed, size)
    config, model = config.model_copy(update={"image_size": square_side(data)}), thawed(model)
    if config.checkpoint is not None:
        load_checkpoint(model, Path(config.checkpoint))
    elif (config.model, config.data) != (DEMO_MODEL, DEMO_DATA):
        raise UsageError(
            f"the trained weights of {config.model} are missing; give --checkpoint FILE, "
            f"or make them with: amc-hw train --model {config.model} --data {config.data} --out FILE"
        )
    trained = trained_model_of(config, model, data, compute)
    open_run(run, config)
    say_size(data)
    baseline = run / BASELINE
    if baseline.exists():
        load_own_checkpoint(model, baseline)
    else:
        if config.checkpoint is None:
            train(model, trained.data, **demo_settings(), seed=config.seed, device=compute, progress=progress)
        save_checkpoint(model, baseline)
    return config, trained


def table_of(config: RunConfig) -> Path | None:
    """Return the latency table that a run was given."""
    return Path(config.table) if config.table else None


@contextlib.contextmanager
def device_in_turn(name: str, progress: Progress, table: Path | None = None) -> Iterator[tuple[Device, Progress]]:
    """Open a device once nobody else has it, and yield it with a progress that lets others measure."""
    while True:
        try:
            device = open_or_predict(name, table)
            break
        except BusyError:
            progress(0, 1, f"waiting for {name}, which another run is measuring on")
            time.sleep(BUSY_POLL_S)
    try:
        yield device, taking_turns(device, progress)
    finally:
        device.close()
