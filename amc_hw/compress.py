"""The whole way in one call: measure, search, verify, fine-tune, export, benchmark, report.

Every step finds what an earlier call finished in the run folder, so the same call goes on where one stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from amc_hw.config import RunConfig, open_run, read_config
from amc_hw.devices.base import Device
from amc_hw.devices.registry import open_device
from amc_hw.errors import RunFolderError
from amc_hw.finetune import train
from amc_hw.models.checkpoint import load_checkpoint, save_checkpoint
from amc_hw.report.html import write_report
from amc_hw.run_folder import read_json
from amc_hw.search.study import read_study
from amc_hw.stages import finish
from amc_hw.stages.search import EPISODES, POLICY, Costs, network_costs, score_on, search, write_policy
from amc_hw.stages.subject import BASELINE, Subject, load_model_and_data, load_subject
from amc_hw.stages.table import run_cost
from amc_hw.stages.verify import verify

Progress = Callable[[int, int, str], None]

DEMO_MODEL, DEMO_DATA = "mobilenet_v1_cifar_0.5", "digits"
DEMO_TRAINING = {"epochs": 12, "lr": 0.1}
"""The demonstration trains its own network; every other run brings a checkpoint."""


def compress(run: Path, config: RunConfig, progress: Progress) -> dict[str, Any]:
    """Compress a network to its budget and prove it on the device.

    Args:
        run: the run folder; made, or gone on with.
        config: the settings.
        progress: called with (done, total, text).

    Returns:
        What summary.json holds.

    Raises:
        AmcHwError: a step failed; what was finished is kept in the run folder.
    """
    with _device(config.device) as device:
        subject, costs = search_run(run, config, device, progress)
        finish.finetune(run, subject, config.epochs, config.seed, progress)
        progress(0, 1, "exporting the compressed network")
        finish.export(run, subject, "tflite")
        summary = prove(run, config, subject, costs, device, progress)
    write_report(run)
    return summary


def search_run(
    run: Path, config: RunConfig, device: Device, progress: Progress
) -> tuple[Subject, Costs]:
    """Search a policy and verify it on the device; the run folder then has policy.json and pruned.pt."""
    config = open_run(run, config)
    subject = load_subject(config, _baseline(run, config, progress))
    latency, _, error = run_cost(
        run, device, subject, config.model, _path(config.table), config.seed, progress
    )
    costs = network_costs(subject.network, latency)
    if _is_searched(run, config):
        return subject, costs
    score = score_on(subject.data.search)
    found = search(run, config, subject, costs, score, error, progress)
    verified = verify(run, subject, found, device, score, progress)
    for stale in (finish.FINETUNED, finish.FINETUNE, finish.SUMMARY, finish.BENCHMARK, "model.tflite"):
        (run / stale).unlink(missing_ok=True)
    for state in run.glob("finetune-*.state"):
        state.unlink()
    save_checkpoint(verified.model, run / finish.PRUNED)
    write_policy(run, subject, costs, verified.chosen, verified.candidates, config.episodes)
    return subject, costs


def prove(
    run: Path, config: RunConfig, subject: Subject, costs: Costs, device: Device, progress: Progress
) -> dict[str, Any]:
    """Benchmark and evaluate the exported network beside the original, and write summary.json."""
    timings = finish.benchmark_run(run, device, progress)
    seconds = sum(episode.seconds for episode in read_study(run / EPISODES).episodes)
    predicted = costs.latency_ms(subject.network.original)
    return finish.summarise(run, config, subject, device, timings, predicted, seconds, progress)


def open_subject(run: Path) -> tuple[RunConfig, Subject]:
    """Load the network of a run that has begun; raise RunFolderError where there is none."""
    config = read_config(run)
    if not (run / BASELINE).exists():
        raise RunFolderError(f"{run} has no {BASELINE}; run the search first: amc-hw search --run {run} ...")
    return config, load_subject(config, run / BASELINE)


def _is_searched(run: Path, config: RunConfig) -> bool:
    """Tell whether the run has a verified policy from as many episodes as are asked for."""
    policy, weights = run / POLICY, run / finish.PRUNED
    return policy.exists() and weights.exists() and read_json(policy).get("episodes") == config.episodes


def _baseline(run: Path, config: RunConfig, progress: Progress) -> Path | None:
    """Return the run's copy of the trained weights; the demonstration trains them."""
    path = run / BASELINE
    if path.exists():
        return path
    if config.checkpoint is not None:
        model, _ = load_model_and_data(config.model, config.data, config.data_root)
        load_checkpoint(model, Path(config.checkpoint))
    elif (config.model, config.data) == (DEMO_MODEL, DEMO_DATA):
        model, data = load_model_and_data(config.model, config.data, None, config.seed)
        train(model, data, **DEMO_TRAINING, seed=config.seed, progress=progress)
    else:
        return None
    save_checkpoint(model, path)
    return path


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


@contextlib.contextmanager
def _device(name: str) -> Iterator[Device]:
    device = open_device(name)
    try:
        yield device
    finally:
        device.close()
