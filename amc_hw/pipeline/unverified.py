"""The end of a search for a device that is not in reach: the table's word stands, and the run says so."""

from __future__ import annotations

from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.latency.trust import warnings
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.originals import export_originals
from amc_hw.pipeline.search import Search
from amc_hw.pipeline.verify import Verified
from amc_hw.policy import Policy
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import Candidate
from amc_hw.tracing.traced import TracedModel

NOT_VERIFIED = "the device is not in reach: latencies are predicted by its table, and nothing was verified on it."


def trust_in_table(job: Job, search: Search, ranked: list[Policy], progress: Progress) -> Verified:
    """Take the best policy by the table's word; it has no measured latency.

    Args:
        job: what is compressed, for a device that is known by its table only.
        search: the finished search.
        ranked: its best policies, the best first.
        progress: is told how far the work is.
    """
    export_originals(job.run, job.trained, job.device, progress)
    policy = ranked[0]
    model = search.pruner.pruned(policy).cpu()
    chosen = Candidate(
        channels=dict(policy),
        score=job.score(model),
        predicted_ms=search.costs.latency_ms(policy),
        measured_ms=None,
        original_ms=None,
        repaired=False,
    )
    return Verified(model, chosen, [chosen])


def reliance(trained: TracedModel, folder: RunFolder, template: GraphTemplate) -> list[str]:
    """Return what someone should know who relies on the table in a folder, one sentence each."""
    largest = {group: counts[-1] for group, counts in trained.choices.items()}
    smallest = {group: counts[0] for group, counts in trained.choices.items()}
    predictor = Predictor(load_table(folder.table))
    return warnings(predictor, template.operators(largest), template.operators(smallest))
