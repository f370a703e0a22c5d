"""The commands that train: a baseline, and the pruned network of a run."""

from __future__ import annotations

import math
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amc_hw.cli.options import DEFAULTS, Compute, DataName, DataRoot, Epochs, ImageSize, Json, Model, Run, Seed
from amc_hw.cli.terminal import answer, of_part, print_json, progress_bar, say, say_what_stays
from amc_hw.errors import UsageError
from amc_hw.processes import is_first_process
from amc_hw.runs.begun import read_config
from amc_hw.runs.files import require_room
from amc_hw.runs.names import require_compute_name

if TYPE_CHECKING:
    from amc_hw.training.optimizer import OptimizerName
    from amc_hw.training.recipe import Recipe

_USUAL = {"sgd": (0.05, 1e-3), "adamw": (1e-3, 0.05)}
"""Highest learning rate and weight decay of a baseline's training."""


def train(
    out: Annotated[Path, typer.Option(help="file for the trained weights")],
    model: Model = DEFAULTS["model"],
    data: DataName = DEFAULTS["data"],
    data_root: DataRoot = None,
    image_size: ImageSize = None,
    epochs: Annotated[int, typer.Option(help="epochs of training", min=1)] = 14,
    lr: Annotated[
        float | None, typer.Option(help="highest learning rate; by default 0.05 (SGD) or 0.001 (AdamW)")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="images for each step", min=1)] = 32,
    weight_decay: Annotated[
        float | None, typer.Option(help="of the weights; by default 0.001 (SGD) or 0.05 (AdamW)", min=0)
    ] = None,
    compute: Compute = None,
    seed: Seed = DEFAULTS["seed"],
    json: Json = False,
) -> None:
    """Train a baseline and write its checkpoint; an interrupted training goes on where it stopped.

    Networks whose weights have batch norms behind them learn by SGD, the others (transformers) by AdamW.
    """
    _check_training(out, model, data, data_root, lr, weight_decay, compute)
    from amc_hw.models.checkpoint import save_checkpoint
    from amc_hw.pipeline.begin import load_model_and_data, say_size
    from amc_hw.tasks.multi_label import classification
    from amc_hw.training import loop as training
    from amc_hw.training.compute import find_compute
    from amc_hw.training.evaluation import evaluate
    from amc_hw.training.optimizer import suited_optimizer

    place = find_compute(compute)
    network, loaded = load_model_and_data(model, data, str(data_root) if data_root else None, seed, image_size)
    classification(loaded).require_fit(network)
    say_size(loaded)
    loaded = loaded.on(place)
    state = out.with_name(out.name + ".state")
    recipe = _recipe(suited_optimizer(network), epochs, batch_size, lr, weight_decay)
    with progress_bar() as report:
        history = training.train(network, loaded, recipe, seed=seed, device=place, progress=report, state_path=state)
    if not is_first_process():
        return
    save_checkpoint(network, out)
    state.unlink(missing_ok=True)
    accuracy = evaluate(network, loaded.test, device=place)
    if json:
        print_json({"checkpoint": str(out), "search_accuracy": history.kept_accuracy, "test_accuracy": accuracy})
    else:
        of = of_part(classification(loaded).metric)
        answer(f"{out}: {accuracy:.2%} {of} the test set ({history.kept_accuracy:.2%} {of} the validation split)")


def _recipe(
    optimizer: OptimizerName, epochs: int, batch_size: int, lr: float | None, weight_decay: float | None
) -> Recipe:
    """Return how a baseline is trained; what nobody named is usual for the optimizer."""
    from amc_hw.training.recipe import Recipe

    usual_lr, usual_decay = _USUAL[optimizer]
    lr, weight_decay = usual_lr if lr is None else lr, usual_decay if weight_decay is None else weight_decay
    return Recipe(epochs, lr, batch_size, weight_decay, optimizer=optimizer)


def _check_training(
    out: Path,
    model: str,
    data: str,
    data_root: Path | None,
    lr: float | None,
    weight_decay: float | None,
    compute: str | None,
) -> None:
    """Refuse what cannot be trained, before anything heavy is loaded."""
    from amc_hw.data.names import require_data
    from amc_hw.models.names import require_model_name
    from amc_hw.runs.files import require_writable

    require_compute_name(compute)
    require_model_name(model)
    require_data(data, data_root)
    if not (0 < (1 if lr is None else lr) < math.inf and (weight_decay or 0) < math.inf):
        raise UsageError("--lr takes a number over 0 and --weight-decay one from 0 on.")
    if is_first_process():
        require_writable(out)


def finetune(run: Run, epochs: Epochs = DEFAULTS["epochs"], compute: Compute = None, json: Json = False) -> None:
    """Fine-tune the pruned network of a run; a stopped fine-tuning goes on where it was."""
    require_compute_name(compute)
    others = read_config(run).others
    require_room(run)
    from amc_hw.pipeline import finish
    from amc_hw.pipeline.begin import open_trained
    from amc_hw.runs.file_lock import exclusive
    from amc_hw.runs.folder import RunFolder
    from amc_hw.training.compute import find_compute

    config, trained = open_trained(run, find_compute(compute))
    folder = RunFolder(run)
    with progress_bar() as report, exclusive(run, report) if is_first_process() else nullcontext():
        network = finish.finetune(folder, trained, epochs, config.seed, report)
    if not is_first_process():
        return
    task = trained.task
    accuracy, where = task.validate(trained.as_shipped(network)), "split" if task.name else "inputs"
    of = f"{of_part(task.metric)} the validation {where}"
    if json:
        print_json({"weights": str(folder.finetuned), "search_accuracy": accuracy})
    else:
        learned = ", which was learned, too" if finish.search_split_learned(folder) else ""
        answer(f"{folder.finetuned}: {accuracy:.2%} {of}{learned}")
        if others:
            say_what_stays(run)
        say(f"Next: amc-hw evaluate --run {shlex.quote(str(run))}")
