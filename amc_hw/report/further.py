"""What a report shows of the further devices of a run for several: each has measurements of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from amc_hw.report.plots import Plot
from amc_hw.report.run import Run
from amc_hw.report.samples import ModelSamples, benchmark_samples
from amc_hw.report.verification import VerifiedRow, verification_plot, verification_sentence, verified_elsewhere


@dataclass(frozen=True)
class Further:
    """One further device.

    Attributes:
        name: as it was named for the run.
        verified: the candidates that were measured there.
        verified_plot: the same as a plot; None where nothing was measured.
        verified_sentence: what they say of the device's table.
        samples: of the last benchmark there.
        facts: its fingerprint.
    """

    name: str
    verified: list[VerifiedRow]
    verified_plot: Plot | None
    verified_sentence: str
    samples: list[ModelSamples]
    facts: Mapping[str, object]


def further_devices(run: Run) -> list[Further]:
    """Return what the run folder holds of each further device, in the order of their folders."""
    told = {each.name: each for each in run.summary.devices[1:]} if run.summary else {}
    found = []
    for name, benchmark in run.further.items():
        rows = verified_elsewhere(run.policy, name) if run.policy else []
        known = told.get(name)
        budget_ms = known.budget.target if known else None
        facts = (benchmark.device if benchmark else {}) or (known.device if known else {})
        found.append(
            Further(
                name,
                rows,
                verification_plot(rows, budget_ms, name) if rows else None,
                verification_sentence(rows) if rows else "",
                benchmark_samples(benchmark),
                facts,
            )
        )
    return found
