"""The whole way in one call: measure, search, verify, fine-tune, export, benchmark, report.

Every step finds what an earlier call finished in the run folder, so the same call goes on where one stopped.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from amc_hw.budget.network_costs import NetworkCosts, network_costs
from amc_hw.data.dataset import load_data
from amc_hw.devices.base import BusyError, Device
from amc_hw.devices.table_only import open_or_predict
from amc_hw.devices.turns import taking_turns
from amc_hw.errors import BudgetError, UsageError, WrongRunError
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.latency.outdated import outdated
from amc_hw.latency.table import LatencyTable, load_table
from amc_hw.models.checkpoint import load_own_checkpoint, save_checkpoint
from amc_hw.models.zoo import build_model, default_image_size
from amc_hw.pipeline import finish
from amc_hw.pipeline.begin import begin
from amc_hw.pipeline.rounds import after_rounds, plan_rounds
from amc_hw.pipeline.search import chosen_policy, search, under_floor
from amc_hw.pipeline.settings import check_evaluation, table_of
from amc_hw.pipeline.shortlist import shortlist
from amc_hw.pipeline.trained import (
    TrainedModel,
    image_size_of,
    load_model_and_data,
    require_trainable,
    square_side,
    trained_model_of,
)
from amc_hw.pipeline.unverified import NOT_VERIFIED, cautions, trust_in_table
from amc_hw.pipeline.verify import doubts, missed_policies, verify
from amc_hw.profiling.check import TableCheck, check_table, doubts_of_table
from amc_hw.profiling.profile import profile, require_tables, run_cost
from amc_hw.report.html import write_report
from amc_hw.runs.config import RunConfig, read_config
from amc_hw.runs.file_lock import exclusive
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import ChosenPolicy, Miss
from amc_hw.runs.summaries import Summary
from amc_hw.search.scoring import PartScorer
from amc_hw.search.study import read_study
from amc_hw.trace.traced import trace_model
from amc_hw.training.compute import CPU
from amc_hw.training.evaluation import evaluate
from amc_hw.training.trial import thawed

_LOG = logging.getLogger(__name__)

PROOFS = 3
"""Last benchmarks of a run: after each that misses the budget, the network is made smaller and fine-tuned again."""
TOO_BUSY = 0.05
"""Doubt from which on a miss says more of what else the device does than of the network."""
BUSY_POLL_S = 5.0
"""Between two looks whether a device that one program at a time may open is free; each look disturbs it."""


def compress(run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU) -> Summary:
    """Compress a network to its budget and prove it on the device.

    Args:
        run: the run folder; made, or gone on with.
        config: the settings.
        progress: is told how far the work is.
        compute: where to train, prune and score.

    Returns:
        What the run came to.

    Raises:
        AmcHwError: a step failed; what was finished is kept in the run folder.
    """
    with exclusive(run, progress), device_in_turn(config.device, progress, table_of(config)) as (device, progress):
        folder = RunFolder(run)
        require_tables(device, table_of(config), folder)
        config, trained = begin(folder, config, progress, compute)
        return compress_trained(folder, config, trained, device, PartScorer(trained.data.search, compute), progress)


def compress_trained(
    run: RunFolder,
    config: RunConfig,
    trained: TrainedModel,
    device: Device,
    score: Callable[[nn.Module], float],
    progress: Progress,
) -> Summary:
    """Compress a network that is loaded already; see `compress`.

    Args:
        run: the run folder, begun with ``config``.
        config: the settings.
        trained: the network.
        device: where the budget must hold.
        score: what the search maximises, 0..1, on images of the training set.
        progress: is told how far the work is.
    """

    def search_round(folder: RunFolder, settings: RunConfig, trained: TrainedModel, progress: Progress) -> None:
        search_and_verify(folder, settings, trained, device, score, progress)

    require_trainable(trained)
    *earlier, _ = plan_rounds(run, config)
    trained = after_rounds(earlier, trained, search_round, progress)
    costs = search_and_verify(run, config, trained, device, score, progress)
    for proof in range(1, PROOFS + 1):
        finish.finetune(run, trained, config.epochs, config.seed, progress)
        progress("exporting the compressed network")
        finish.export(run, trained, device.format, device.fingerprint().batch_size)
        timings = finish.benchmark_run(run, device, progress) if device.in_reach else {}
        used = finish.share_used(config, timings)
        if used <= 1 or proof == PROOFS or finish.doubt_of_share(config, timings) > TOO_BUSY:
            break
        _LOG.warning("the last benchmark is %.1f %% over the budget: making the network smaller", 100 * (used - 1))
        policy = run.policy.read()
        run.misses.append(Miss(channels=policy.channels, found=finish.share_found(config, policy), used=used))
        try:
            search_and_verify(run, config, trained, device, score, progress)
        except BudgetError as error:  # what there is stays, and the report says that it misses
            _LOG.warning("%s", error)
            break
    predicted = costs.latency_ms(trained.network.original)
    summary = finish.summarise(run, config, trained, device, timings, predicted, progress)
    write_report(run.path)
    return summary


def search_and_verify(
    run: RunFolder,
    config: RunConfig,
    trained: TrainedModel,
    device: Device,
    score: Callable[[nn.Module], float],
    progress: Progress,
) -> NetworkCosts:
    """Search a policy and verify it on the device; the run folder then has policy.json and pruned.pt.

    Where the device is known by its table only, nothing is verified, and policy.json says so.
    """
    if not device.in_reach:
        _LOG.warning("%s: %s", device.name, NOT_VERIFIED)
    latency, template, error = run_cost(run, device, trained, config.model, table_of(config), config.seed, progress)
    exported = template.file(trained.network.original, np.random.default_rng(0))
    costs = network_costs(trained.network, latency, len(exported))
    if _is_searched(run, config) and not (device.in_reach and _has_missed(run)):
        return costs
    doubtful = doubts_of_table(device, trained, template, config.model, run, progress)
    for sentence in doubtful:
        _LOG.warning("%s", sentence)
    found = search(run, config, trained, costs, score, error, progress)
    ranked = shortlist(run, trained, found, score, config.seed, progress)
    if not device.in_reach:
        verified = trust_in_table(run, trained, found, ranked, device, score, progress)
        told = cautions(run, trained, template)
    else:
        verified = verify(run, trained, found, ranked, device, score, progress)
        table = load_table(run.table)
        told = outdated(table) or doubts(found, verified.chosen, table.notes)
    told = [*doubtful, *told, *under_floor(verified.chosen, config.accuracy_floor)]
    run.invalidate_after_search((*FORMATS, finish.PROGRAM))
    save_checkpoint(verified.model, run.pruned)
    run.policy.write(chosen_policy(trained, costs, verified.chosen, verified.candidates, config.episodes, told))
    return costs


def open_trained(run: Path, compute: torch.device = CPU) -> tuple[RunConfig, TrainedModel]:
    """Load the network of a run that has begun; raise WrongRunError where there is none."""
    config = read_config(run)
    baseline = RunFolder(run).baseline
    if not baseline.exists():
        raise WrongRunError(f"{run} has no {baseline.name}; run the search first: amc-hw search --run {run} ...")
    size = image_size_of(config)
    model, data = load_model_and_data(config.model, config.data, config.data_root, config.seed, size)
    model = thawed(model)
    load_own_checkpoint(model, baseline)
    return config, trained_model_of(config, model, data, compute)


def search_on_device(run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU) -> ChosenPolicy:
    """Search a policy, verify it on the device, and return it; see `compress`."""
    folder = RunFolder(run)
    with exclusive(run, progress), device_in_turn(config.device, progress, table_of(config)) as (device, progress):
        require_tables(device, table_of(config), folder)
        config, trained = begin(folder, config, progress, compute)
        require_trainable(trained)
        search_and_verify(folder, config, trained, device, PartScorer(trained.data.search, compute), progress)
    return folder.policy.read()


def profile_model(
    model: str,
    device_name: str,
    table: Path | None,
    image_size: int | None,
    classes: int,
    seed: int,
    progress: Progress,
) -> tuple[LatencyTable, Path]:
    """Measure what a device's table lacks for a network, or has from a busy machine; its weights do not matter.

    Args:
        model: the network's name.
        device_name: the device's name.
        table: the table's file, or None for the device's default one.
        image_size: side in pixels, or None for the network's own.
        classes: outputs of the network.
        seed: decides which channel counts are measured.
        progress: is told how far the work is.
    """
    size = image_size or default_image_size(model)
    network = build_model(model, classes)
    with device_in_turn(device_name, progress) as (device, progress):
        require_tables(device, table)
        trained = trace_model(network, (3, size, size))
        measured, path, _ = profile(device, trained, model, table, seed, progress, renew=True)
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
        require_tables(device, table)
        trained = trace_model(build_model(model, classes), (3, size, size))
        return check_table(device, trained, model, table, networks, seed, export_all, progress)


def evaluate_on_test(
    file: Path | None, run: Path | None, data: str | None, data_root: Path | None, progress: Progress
) -> tuple[str, float]:
    """Return the name and the top-1 accuracy on the test set of an exported file, or of a run's network.

    Raises:
        UsageError: see `check_evaluation`.
    """
    check_evaluation(file, run, data, data_root)
    if run is not None:
        _, trained = open_trained(run)
        part = load_data(data, data_root, square_side(trained.data)).test if data else trained.data.test
        folder = RunFolder(run)
        for exported in map(folder.model, FORMATS):
            if exported.exists():
                return str(exported), finish.evaluate_file(exported, part, progress)
        weights = folder.best_weights
        return str(weights), evaluate(finish.restore(folder, trained, weights), part)
    if file is None or data is None:
        raise UsageError("name a file and its data set.")
    size = load_file(file).image_size
    return str(file), finish.evaluate_file(file, load_data(data, data_root, size[1] if size else None).test, progress)


def _is_searched(run: RunFolder, config: RunConfig) -> bool:
    """Tell whether the run has a verified policy from as many episodes as are asked for.

    Raises:
        RunFolderError: the log of its episodes is damaged; better now than after the benchmark.
    """
    if not (run.policy.exists() and run.pruned.exists() and run.episodes.exists()):
        return False
    read_study(run.episodes.path)
    return run.policy.read().episodes == config.episodes


def _has_missed(run: RunFolder) -> bool:
    """Tell whether the last benchmark found the chosen policy over the budget."""
    return tuple(run.policy.read().channels.items()) in missed_policies(run)


@contextlib.contextmanager
def device_in_turn(name: str, progress: Progress, table: Path | None = None) -> Iterator[tuple[Device, Progress]]:
    """Open a device once nobody else has it, and yield it with a progress that lets others measure."""
    while True:
        try:
            device = open_or_predict(name, table)
            break
        except BusyError:
            progress(f"waiting for {name}, which another run is measuring on")
            time.sleep(BUSY_POLL_S)
    try:
        yield device, taking_turns(device, progress)
    finally:
        device.close()
