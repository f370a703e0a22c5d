"""Fine-grained pruning as AMC has it: weights become zero, in one round or several, and the result is exported."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from amc_hw.budget.bounds import Limit
from amc_hw.budget.budget import parse_budget
from amc_hw.budget.network_costs import BYTES_OF_A_FLOAT
from amc_hw.formats.registry import export
from amc_hw.pipeline.compress import begin
from amc_hw.pipeline.fine_grained import Sparse, nonzero_cost, prune_round, whole
from amc_hw.pipeline.finish import FINETUNED, SUMMARY, evaluate_file
from amc_hw.pipeline.rounds import named, plan_rounds
from amc_hw.pipeline.search import EPISODES
from amc_hw.pipeline.trained import TrainedModel, require_trainable
from amc_hw.profiling.deployed import MODEL, ORIGINAL, exported
from amc_hw.pruning.masks import nonzero_weights
from amc_hw.runs.config import RunConfig, open_run
from amc_hw.runs.file_lock import exclusive
from amc_hw.runs.files import write_json
from amc_hw.search.study import read_study
from amc_hw.training.compute import CPU
from amc_hw.training.loop import evaluate

Progress = Callable[[int, int, str], None]

FORMAT = "tflite"
NOTE = (
    "Zeros are stored and multiplied like other numbers, so the file is as large and as slow as the original's; "
    "it is smaller where files are compressed, and faster only in a runtime for sparse weights."
)


def sparsify(run: Path, config: RunConfig, progress: Progress, compute: torch.device = CPU) -> dict[str, Any]:
    """Set weights to zero until the others fit a budget of bytes, fine-tune, export and evaluate.

    With ``config.rounds`` this is done for every budget in turn, each searched anew from the fine-tuned network
    of the one before, as AMC's protocol for ResNet-50 has it (50, 35, 25 and 20 % of the weights). All budgets
    are of the original network. A finished round is not repeated.

    Args:
        run: the run folder; the last round is in it, earlier ones in ``round-1``, ``round-2`` ...
        config: the settings; device, table, reward, multiple and lower have no meaning here.
        progress: called with (done, total, text).
        compute: where to train and score.

    Returns:
        What summary.json holds; latencies are not in it.

    Raises:
        UsageError: the budgets of the rounds do not fall.
        AmcHwError: a step failed; what was finished is kept in the run folder.
    """
    with exclusive(run, progress):
        config, trained = begin(run, config, progress, compute)
        rounds = plan_rounds(run, config)
        require_trainable(trained)
        cost, sparse = nonzero_cost(trained), whole(trained)
        file = exported(run, ORIGINAL, FORMAT)
        if not file.exists():  # now: what cannot be converted should not be searched for hours
            progress(0, 1, f"exporting the {ORIGINAL} network")
            export(trained.model, trained.example, file)
        original = cost(sparse.parts)
        history = []
        for number, (folder, settings) in enumerate(rounds, start=1):
            limit = Limit(cost, parse_budget(config.metric, settings.budget).target(original))
            open_run(folder, settings)
            pruned, sparse = prune_round(folder, settings, trained, sparse, limit, named(progress, number, len(rounds)))
            history.append(
                {
                    "budget": settings.budget,
                    "target_bytes": limit.most,
                    "nonzero_bytes": cost(sparse.parts),
                    "search_accuracy_before_finetune": evaluate(pruned.model, trained.data.search, device=compute),
                    "search_accuracy": evaluate(sparse.model, trained.data.search, device=compute),
                    "search_seconds": sum(episode.seconds for episode in read_study(folder / EPISODES).episodes),
                }
            )
        return _summarise(run, config, trained, pruned, sparse, history, progress)


def _summarise(
    run: Path,
    config: RunConfig,
    trained: TrainedModel,
    pruned: Sparse,
    sparse: Sparse,
    rounds: Sequence[dict[str, Any]],
    progress: Progress,
) -> dict[str, Any]:
    """Export the sparse network, evaluate both files on the test set, and write summary.json."""
    original, cost = whole(trained), nonzero_cost(trained)
    files = {ORIGINAL: original.model, MODEL: sparse.model}
    progress(0, 1, f"exporting the {MODEL} network")
    export(sparse.model, trained.example, exported(run, MODEL, FORMAT))
    sides = {}
    for name, model in files.items():
        file = exported(run, name, FORMAT)
        kept = nonzero_weights(model, original.parts)
        others = round(cost.constant / BYTES_OF_A_FLOAT)
        sides[name] = {
            "accuracy": evaluate_file(file, trained.data.test, progress),
            "nonzero_params": sum(kept.values()) + others,
            "nonzero_bytes": BYTES_OF_A_FLOAT * (sum(kept.values()) + others),
            "size_bytes": file.stat().st_size,
            "deflated_bytes": len(zlib.compress(file.read_bytes(), 9)),
            "layers": kept,
        }
    sides[MODEL]["accuracy_before_finetune"] = evaluate(pruned.model, trained.data.test, device=trained.compute)
    budget = parse_budget(config.metric, config.budget)
    summary = {
        "format": 1,
        "granularity": config.granularity,
        "model": config.model,
        "data": config.data,
        "budget": {"metric": config.metric, "target": rounds[-1]["target_bytes"], "ratio": budget.ratio},
        "original": sides[ORIGINAL],
        "compressed": sides[MODEL],
        "rounds": list(rounds),
        "search": {"strategy": config.strategy, "episodes": config.episodes, "seed": config.seed},
        "epochs": config.epochs,
        "artifacts": {FORMAT: f"{MODEL}.{FORMAT}", f"original_{FORMAT}": f"{ORIGINAL}.{FORMAT}", "torch": FINETUNED},
        "note": NOTE,
        "test_images": len(trained.data.test),
        "image_size": list(trained.data.image_size),
    }
    write_json(run / SUMMARY, summary)
    return summary
