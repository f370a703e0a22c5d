"""One run as a self-contained HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from amc_hw import __version__
from amc_hw.report import numbers
from amc_hw.report.cautions import cautions
from amc_hw.report.charts import finetune_plots, search_plots
from amc_hw.report.further import further_devices
from amc_hw.report.groups import group_bars
from amc_hw.report.run import Run, read_run
from amc_hw.report.samples import benchmark_samples
from amc_hw.report.smaller import before_sentences, smaller_sentences
from amc_hw.report.table import (
    before_after_rows,
    device_rows,
    precision_rows,
    smaller_rows,
    titled,
    trial_rows,
    use_sentence,
)
from amc_hw.report.verdict import gauges, verdict
from amc_hw.report.verification import verification_plot, verification_sentence, verified_rows
from amc_hw.runs.files import write_bytes
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.summaries import Figures, Summary


def write_report(run: Path) -> Path:
    """Draw ``report.html`` from a run folder alone, complete or half finished, and return its path.

    The same folder gives the same bytes. The page needs no network, no script and no font of its own.

    Raises:
        RunFolderError: the folder is no run folder, one of its files is damaged (the message names it), or
            the report cannot be written.
    """
    folder = RunFolder(run)
    write_page(folder.report, "template.html.jinja", report_context(read_run(folder)))
    return folder.report


def write_page(page: Path, template: str, context: Mapping[str, object]) -> None:
    """Fill a template of this package and write it in one step; every value is escaped."""
    environment = Environment(
        loader=PackageLoader("amc_hw.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        milliseconds=numbers.milliseconds,
        percent=numbers.percent,
        points=numbers.points,
        signed_percent=numbers.signed_percent,
        fixed=numbers.fixed,
        duration=numbers.duration,
        count=numbers.count,
        ratio=numbers.ratio,
    )
    text = environment.get_template(template).render(context, version=__version__)
    # JSON can hold half a surrogate pair, which no encoding has.
    write_bytes(page, text.encode("utf-8", errors="replace"))


def report_context(run: Run) -> Mapping[str, object]:
    """Return everything that the template shows."""
    samples = benchmark_samples(run.benchmark)
    verified = verified_rows(run.policy) if run.policy else []
    budget = run.summary.budget if run.summary else None
    first_device = str(run.config.get("device") or "") if run.further else ""
    budget_ms = budget.target if budget and budget.metric == "latency_ms" else None
    return {
        "model": run.fact("model"),
        "data": run.fact("data"),
        "image_size": "x".join(map(str, run.summary.image_size[1:])) if run.summary and run.summary.image_size else "",
        "metric": run.metric,
        "scored": titled(run.metric),
        "split": run.split,
        "device_name": run.fact("device"),
        "verdict": verdict(run),
        "gauges": gauges(run.summary),
        "cautions": cautions(run, samples),
        "rows": _before_after(run, run.summary) if run.summary else [],
        "precisions": precision_rows(run.summary) if run.summary else [],
        "smaller": smaller_rows(run.summary) if run.summary else [],
        "smaller_sentences": [*before_sentences(run), *(smaller_sentences(run.summary) if run.summary else ())],
        "devices": device_rows(run.summary) if run.summary else [],
        "first_device": first_device,
        "further": further_devices(run),
        "trials": trial_rows(run.precision) if run.precision else [],
        "alone": bool(run.precision and run.precision.alone),
        "use": use_sentence(run.summary) if run.summary else "",
        "groups": group_bars(run.policy) if run.policy else [],
        "search": run.summary.search if run.summary else None,
        "search_plots": search_plots(run),
        "verified": verified,
        "verified_plot": verification_plot(verified, budget_ms, first_device) if verified else None,
        "verified_sentence": verification_sentence(verified) if verified else "",
        "search_split_learned": bool(run.finetune and run.finetune.search_split_learned),
        "kept_epoch": run.finetune.kept_epoch if run.finetune else None,
        "finetune_plots": finetune_plots(run),
        "samples": samples,
        "protocol": run.benchmark.protocol if run.benchmark else {},
        "device": flat(run.device),
        "flat": flat,
        "command": _command(run.config.get("command")),
        "settings": flat({key: value for key, value in run.config.items() if key != "command"}),
        "artifacts": _files(run.summary) if run.summary else {},
        "missing": _missing(run),
    }


def flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a document's values as rows of text; a nested key is written with a dot."""
    rows: list[tuple[str, str]] = []
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _text(value)))
    return rows


def _text(value: Any) -> str:
    if value is None or value in ([], {}):
        return numbers.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)


def _files(summary: Summary) -> dict[str, str]:
    """Return the files of a run folder by what they are; those of further devices with the device's name."""
    further = {f"{kind} of {each.name}": file for each in summary.devices[1:] for kind, file in each.artifacts.items()}
    return summary.artifacts | further


def _command(command: Any) -> str:
    """Return the command with a line for each option, ready for a shell; "" where there is none."""
    if isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError:
            return command
    else:
        words = list(map(str, command)) if isinstance(command, list) else []
    return " ".join(f"\\\n    {shlex.quote(word)}" if word.startswith("--") else shlex.quote(word) for word in words)


def _before_after(run: Run, summary: Summary) -> list[tuple[str, str, str, str]]:
    """Return the rows of the table, with the sizes of benchmarked files that lie in the run folder."""
    sizes = {model.name: _size(run, model.file) for model in (run.benchmark.models if run.benchmark else ())}

    def sized(name: str, figures: Figures) -> Figures:
        size = sizes.get(name) if figures.size_bytes is None else figures.size_bytes
        return figures.model_copy(update={"size_bytes": size})

    original, compressed = sized("original", summary.original), sized("compressed", summary.compressed)
    return before_after_rows(original, compressed, summary.metric)


def _size(run: Run, file: str | None) -> int | None:
    """Return the size of a file of the run folder; only a plain name lies in there for sure."""
    if not file or file != Path(file).name or not (run.folder.path / file).is_file():
        return None
    return (run.folder.path / file).stat().st_size


def _missing(run: Run) -> list[tuple[str, str]]:
    """Return what the report leaves out, each with the reason."""
    benchmark, policy = run.benchmark, run.policy
    return [
        (name, reason)
        for name, there, reason in (
            (
                "Before and after",
                run.summary,
                "summary.json is written at the end, when the policy was proved.",
            ),
            ("Channels kept", policy and group_bars(policy), "policy.json holds no channel groups yet."),
            ("Search", run.episodes or run.is_whole, "episodes.jsonl holds no episodes yet."),
            (
                "Predicted against measured",
                run.is_whole or (policy and verified_rows(policy)),
                "no policy was measured on the device.",
            ),
            (
                "Fine-tuning",
                run.is_whole or (run.finetune and run.finetune.epochs),
                "the network was not fine-tuned, or is not yet.",
            ),
            ("Benchmark", benchmark_samples(benchmark), "benchmark.json holds no samples yet."),
            ("Device", run.device, "no file names the device."),
            ("How to reproduce", _command(run.config.get("command")), "config.json names no command."),
        )
        if not there
    ]
