"""Fine-grained pruning as AMC has it: weights become zero, in one round or several, and the result is exported."""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from torch import nn

from amc_hw.budget.bounds import Limit
from amc_hw.budget.budget import parse_budget
from amc_hw.budget.network_costs import BYTES_OF_A_FLOAT
from amc_hw.formats.export import export
from amc_hw.pipeline.begin import begin
from amc_hw.pipeline.fine_grained import Sparse, nonzero_cost, prune_round, whole
from amc_hw.pipeline.first_look import looked_at
from amc_hw.pipeline.rounds import plan_rounds, round_name
from amc_hw.pipeline.settings import settled
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.pruning.masks import nonzero_weights
from amc_hw.runs.begun import open_run
from amc_hw.runs.config import RunConfig
from amc_hw.runs.file_lock import exclusive
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.summaries import BudgetFigures, SearchFacts, SparseFigures, SparseRound, SparseSummary
from amc_hw.search.study import read_study
from amc_hw.tasks.classification import evaluate_file
from amc_hw.training.compute import CPU
from amc_hw.training.evaluation import evaluate

FORMAT = "tflite"
NOTE = (
    "Zeros are stored and multiplied like other numbers, so the file is as large and as slow as the original's; "
    "it is smaller where files are compressed, and faster only in a runtime for sparse weights."
)


def sparsify(run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU) -> SparseSummary:
    """Set weights to zero until the others fit a budget of bytes, fine-tune, export and evaluate.

    With ``config.rounds`` this is done for every budget in turn, each searched anew from the fine-tuned network
    of the one before, as AMC's protocol for ResNet-50 has it (50, 35, 25 and 20 % of the weights). All budgets
    are of the original network. A finished round is not repeated.

    Args:
        run: the run folder; the last round is in it, earlier ones in ``round-1``, ``round-2`` ...
        config: the settings; device, table, reward, multiple and lower have no meaning here.
        progress: is told how far the work is.
        compute: where to train and score.

    Returns:
        What the run came to; latencies are not in it.

    Raises:
        UsageError: the budgets of the rounds do not fall.
        AmcHwError: a step failed; what was finished is kept in the run folder.
    """
    last = RunFolder(run)
    with exclusive(run, progress):
        config, trained = begin(last, settled(last, config), progress, compute)
        rounds = plan_rounds(last, config)
        trained = looked_at(trained, by_accuracy=True)
        cost, sparse = nonzero_cost(trained), whole(trained)
        file = last.original(FORMAT)
        if not file.exists():  # now: what cannot be converted should not be searched for hours
            progress("exporting the original network")
            export(trained.model, trained.example, file)
        original = cost(sparse.parts)
        history = []
        for number, (folder, settings) in enumerate(rounds, start=1):
            limit = Limit(cost, parse_budget(config.metric, settings.budget).target(original))
            open_run(folder.path, settings)
            part = progress.within(round_name(number, len(rounds)))
            pruned, sparse = prune_round(folder, settings, trained, sparse, limit, part)
            history.append(
                SparseRound(
                    budget=settings.budget,
                    target_bytes=limit.most,
                    nonzero_bytes=cost(sparse.parts),
                    search_accuracy_before_finetune=evaluate(pruned.model, trained.data.search, device=compute),
                    search_accuracy=evaluate(sparse.model, trained.data.search, device=compute),
                    search_seconds=sum(episode.seconds for episode in read_study(folder.episodes.path).episodes),
                )
            )
        return _summarise(last, config, trained, pruned, sparse, history, progress)


def _summarise(
    run: RunFolder,
    config: RunConfig,
    trained: TrainedModel,
    pruned: Sparse,
    sparse: Sparse,
    rounds: list[SparseRound],
    progress: Progress,
) -> SparseSummary:
    """Export the sparse network, evaluate both files on the test set, and write summary.json."""
    original, model = run.original(FORMAT), run.model(FORMAT)
    progress("exporting the sparse network")
    export(sparse.model, trained.example, model)
    before = evaluate(pruned.model, trained.data.test, device=trained.compute)
    budget = parse_budget(config.metric, config.budget)
    summary = SparseSummary(
        granularity="weights",
        model=config.model,
        data=config.data,
        budget=BudgetFigures(metric=config.metric, target=rounds[-1].target_bytes, ratio=budget.ratio),
        original=_figures(trained, trained.model, original, progress),
        compressed=_figures(trained, sparse.model, model, progress).model_copy(
            update={"accuracy_before_finetune": before}
        ),
        rounds=rounds,
        search=SearchFacts(strategy=config.strategy, episodes=config.episodes, seed=config.seed),
        epochs=config.epochs,
        artifacts={FORMAT: model.name, f"original_{FORMAT}": original.name, "torch": run.finetuned.name},
        note=NOTE,
        test_images=len(trained.data.test),
        image_size=list(trained.data.image_size),
        warnings=list(trained.notes),
    )
    run.summary.write(summary)
    return summary


def _figures(trained: TrainedModel, model: nn.Module, file: Path, progress: Progress) -> SparseFigures:
    """Return what is known of a network and of its exported file."""
    kept = nonzero_weights(model, whole(trained).parts)
    parameters = sum(kept.values()) + round(nonzero_cost(trained).constant / BYTES_OF_A_FLOAT)
    return SparseFigures(
        accuracy=evaluate_file(file, trained.data.test, progress),
        nonzero_params=parameters,
        nonzero_bytes=BYTES_OF_A_FLOAT * parameters,
        size_bytes=file.stat().st_size,
        deflated_bytes=len(zlib.compress(file.read_bytes(), 9)),
        layers=kept,
    )
