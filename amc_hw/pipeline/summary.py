"""What a run came to: its files on the test set, and summary.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from amc_hw.budget.budget import Budget
from amc_hw.pipeline.finish import in_other_precisions, original_of
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.originals import in_fp32
from amc_hw.pipeline.other_devices import OtherDevice, predicted_elsewhere
from amc_hw.pipeline.smaller_files import better_one, smaller_figures, smaller_files
from amc_hw.pipeline.tested import file_quality, network_quality
from amc_hw.policy import Policy
from amc_hw.profiling.timing import Timing
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import ChosenPolicy
from amc_hw.runs.summaries import BudgetFigures, Figures, OnDevice, SearchFacts, Summary
from amc_hw.search.study import read_study


def summarise(
    job: Job,
    timings: Mapping[str, Timing],
    predicted_original_ms: float | None,
    progress: Progress,
    elsewhere: Sequence[Mapping[str, Timing]] = (),
) -> Summary:
    """Evaluate the files on the test set, once, and write summary.json.

    Without timings the summary is marked unverified, and a share of the original's latency is of its prediction.
    """
    run, config, trained, device = job.run, job.config, job.trained, job.device
    policy = run.policy.read()
    original_file, file = run.original(device.format), run.model(device.format)
    original = _figures(job, trained.network.original, original_file, timings.get("original"), progress).model_copy(
        update={"predicted_ms": predicted_original_ms}
    )
    compressed = _figures(job, policy.channels, file, timings.get("compressed"), progress)
    compressed = compressed.model_copy(
        update={
            "accuracy_before_finetune": _before_finetune(job, policy, compressed.accuracy),
            "predicted_ms": policy.predicted_ms,
            "channels": policy.channels,
        }
    )
    unknown = predicted_original_ms or math.inf  # then no budget is a share of it
    others = _others(job, policy.channels, timings, progress)
    shares_of = {"original": original, **others}
    budget, *limits = (
        _allowed(each, shares_of[original_of(each)].value(each.metric) or unknown) for each in job.budgets
    )
    summary = Summary(
        model=config.model,
        data=config.data,
        device=device.fingerprint().model_dump(),
        budget=budget,
        limits=limits,
        original=original,
        compressed=compressed,
        precision=device.precision,
        io=config.io,
        others=others,
        search=_search_facts(run, config),
        artifacts={
            device.format: file.name,
            f"original_{device.format}": original_file.name,
            "torch": run.finetuned.name,
        },
        unverified=not timings,
        metric=trained.task.metric,
        test_images=trained.task.test_images,
        image_size=trained.image_size,
    )
    summary = _with_devices(job, summary, elsewhere, progress)
    if smaller := smaller_figures(run, trained, device, timings, progress):
        files = {f"{device.format} of {name}": file.name for name, file in smaller_files(run, device).items()}
        summary = summary.model_copy(update={"smaller": smaller, "artifacts": summary.artifacts | files})
        summary = summary.model_copy(update={"take": better_one(summary)})
    run.summary.write(summary)
    return summary


def _with_devices(job: Job, summary: Summary, elsewhere: Sequence[Mapping[str, Timing]], progress: Progress) -> Summary:
    """Return a summary that says of each of several devices what is known of both networks there."""
    if not job.others:
        return summary
    there = [_elsewhere(job, other, each, progress) for other, each in zip(job.others, elsewhere, strict=True)]
    return summary.model_copy(update={"devices": [_own_device(job, summary), *there]})


def _own_device(job: Job, summary: Summary) -> OnDevice:
    """Return what a summary says of the run's own device, as one of several."""
    assert summary.budget is not None
    return OnDevice(
        name=job.device.name,
        device=summary.device,
        budget=summary.budget,
        original=summary.original,
        compressed=summary.compressed,
        unverified=summary.unverified,
        artifacts={job.device.format: summary.artifacts[job.device.format]},
    )


def _elsewhere(job: Job, other: OtherDevice, timings: Mapping[str, Timing], progress: Progress) -> OnDevice:
    """Evaluate the files of a further device and return what is known of both networks there."""
    trained, device, folder = job.trained, other.device, other.folder
    chosen, predicted = job.run.policy.read(), predicted_elsewhere(other, trained)
    files = {"original": folder.original(device.format), "compressed": folder.model(device.format)}
    policies = {"original": trained.network.original, "compressed": chosen.channels}
    predicted_ms = {
        "original": original_in_fp32(other, predicted(trained.network.original)),
        "compressed": predicted(chosen.channels),
    }
    original, compressed = (
        _figures(job, policies[name], file, timings.get(name), progress).model_copy(
            update={"predicted_ms": predicted_ms[name]}
        )
        for name, file in files.items()
    )
    whole = timings.get(original_of(other.budget))
    return OnDevice(
        name=device.name,
        device=device.fingerprint().model_dump(),
        budget=_allowed(other.budget, whole.latency_ms if whole else predicted(trained.network.original)),
        original=original,
        compressed=compressed,
        unverified=not timings,
        artifacts={device.format: str(files["compressed"].relative_to(job.run.path))},
    )


def original_in_fp32(other: OtherDevice, shipped_ms: float) -> float | None:
    """Return what the original is predicted to take in fp32, as the run's own is; None where nobody has timed both."""
    if other.device.precision == "fp32":
        return shipped_ms
    times = other.folder.original_times.find()
    return None if times is None else in_fp32(shipped_ms, times)


def _before_finetune(job: Job, policy: ChosenPolicy, shipped: float | None) -> float | None:
    """Return the accuracy of the pruned network; None where nothing was pruned and nothing fine-tuned.

    Where its weights are those that ship, it is that of the file: another is of the network, or of its simulation.
    """
    run, trained = job.run, job.trained
    learned = run.finetune.find()
    if learned is None or not learned.kept_epoch:
        return None if learned is None and policy.is_original else shipped
    return network_quality(run, trained, restore(run, trained, run.pruned))


def _others(job: Job, channels: Policy, timings: Mapping[str, Timing], progress: Progress) -> dict[str, Figures]:
    """Return what is known of the files in the other of the two precisions, by what they are."""
    found = {}
    for name, file in in_other_precisions(job.run, job.device).items():
        policy = channels if file == job.run.float_model(job.device.format) else job.trained.network.original
        found[name] = _figures(job, policy, file, timings.get(name), progress)
    return found


def _search_facts(run: RunFolder, config: RunConfig) -> SearchFacts:
    if not run.has_episodes():  # nothing needed to be pruned
        return SearchFacts(seed=config.seed)
    episodes, header = read_study(run.episodes.path).episodes, run.episodes.read().header
    seconds = sum(episode.seconds for episode in episodes)
    facts = SearchFacts(strategy=config.strategy, episodes=len(episodes), seconds=seconds, seed=config.seed)
    known = header.settings.get("known") if header else None
    return facts.model_copy(update={"known": known}) if isinstance(known, int) else facts


def _figures(job: Job, policy: Policy, file: Path, timing: Timing | None, progress: Progress) -> Figures:
    """Return what is known of a policy's network by its exported file and the last benchmark."""
    return Figures(
        accuracy=file_quality(job.run, job.trained, file, progress),
        latency_ms=None if timing is None else timing.latency_ms,
        macs=job.trained.network.macs(policy),
        params=job.trained.network.params(policy),
        size_bytes=file.stat().st_size,
    )


def _allowed(budget: Budget, original: float) -> BudgetFigures:
    """Return what summary.json holds of a budget."""
    named = {} if budget.of == "fp32" else {"of": budget.of}
    return BudgetFigures(metric=budget.metric, target=budget.allowed(original), ratio=budget.ratio, **named)
