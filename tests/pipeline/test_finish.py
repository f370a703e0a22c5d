"""The last fine-tuning of few images is chosen by images that it has not learned; of many, it learns all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import TinyNet

from amc_hw.data.dataset import Data, load_data
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.pipeline import finish
from amc_hw.pipeline.load import restore
from amc_hw.pipeline.trained import TrainedModel, make_trained_model
from amc_hw.policy import Policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.runs.files import write_json
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.tasks.classification import knows_by_heart
from amc_hw.training.compute import CPU
from amc_hw.training.evaluation import evaluate
from amc_hw.training.loop import train
from amc_hw.training.recipe import SMALL, Recipe, recovery_recipe


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    torch.manual_seed(0)
    data = load_data("digits")
    model = TinyNet()
    train(model, data, Recipe(epochs=3, lr=0.05, batch_size=32))
    return make_trained_model(model, data)


def pruned_run(folder: Path, trained: TrainedModel, policy: Policy) -> RunFolder:
    """A run folder that was searched: a policy and its network, with nothing fitted."""
    write_json(folder / "policy.json", {"format": 1, "channels": dict(policy)})
    model = shrink(trained.model, trained.network, first_channels(policy))
    run = RunFolder(folder)
    save_checkpoint(model, run.pruned)
    return run


@pytest.mark.parametrize(("small", "learned"), [(SMALL, False), (1000, True)])
def test_few_images_are_fine_tuned_without_the_search_split(
    trained: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, learned: bool
) -> None:
    monkeypatch.setattr(finish, "SMALL", small)
    run = pruned_run(tmp_path, trained, {group: counts[-1] // 2 for group, counts in trained.choices.items()})
    pruned = evaluate(restore(run, trained, run.pruned), trained.data.search)
    model = finish.finetune(run, trained, 2, 0, SILENT)
    data = trained.data
    images = torch.load(run.finetune_state(2), weights_only=True)["identity"]["images"]
    assert images == len(data.train) + learned * len(data.search)
    assert finish.search_split_learned(run) == learned
    assert evaluate(model, data.search) >= pruned
    assert run.finetune.read().kept_epoch == 2


def test_a_network_that_no_epoch_makes_better_stays(trained: TrainedModel) -> None:
    """Its labels mislead, and its teacher knows no better: what was learned cannot be right on the split."""
    data, wrong = trained.data, TinyNet()
    misled = replace(data, train=replace(data.train, labels=(data.train.labels + 1) % 10))
    model = shrink(trained.model, trained.network, {})
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    history = train(model, misled, recovery_recipe(len(data.train), epochs=2), teacher=wrong)
    assert history.kept_epoch == 0
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_few_images_of_a_large_data_set_are_no_small_data_set() -> None:
    assert not recovery_recipe(SMALL - 1, 1).keep_last
    assert recovery_recipe(SMALL, 1).keep_last
    few = recovery_recipe(2560, 1, drawn_from=50_000)
    assert (few.keep_last, few.ema, few.batch_size) == (True, None, 64)


def test_few_epochs_of_a_large_data_set_learn_in_small_steps() -> None:
    whole = recovery_recipe(50_000, 100).lr
    shares = [recovery_recipe(50_000, epochs).lr / whole for epochs in (1, 6, 15, 30)]
    assert shares == pytest.approx([1 / 3, 1 / 3, 1 / 2, 1])
    assert recovery_recipe(50_000, 1, by_heart=False).lr == whole
    assert recovery_recipe(SMALL - 1, 1).lr == recovery_recipe(SMALL - 1, 6).lr
    share = recovery_recipe(2560, 1, drawn_from=50_000).batch_size / 128
    assert recovery_recipe(2560, 1, drawn_from=50_000).lr == pytest.approx(share * whole)


def test_a_network_knows_its_images_by_heart_until_it_errs_on_more_than_one_in_a_hundred(trained: TrainedModel) -> None:
    part, model = trained.data.train, trained.model.eval()
    with torch.no_grad():
        said = torch.cat([model(images).argmax(dim=1) for images, _ in part.batches(128)])
    by_heart = replace(trained.data, train=replace(part, labels=said))
    assert knows_by_heart(model, by_heart, CPU)
    wrong = torch.arange(len(part)) % 20 == 0
    mostly = replace(trained.data, train=replace(part, labels=(said + wrong.long()) % 10))
    assert not knows_by_heart(model, mostly, CPU)


def test_batches_are_never_too_small_for_batch_norm(trained: TrainedModel) -> None:
    data: Data = trained.data
    assert recovery_recipe(20, 1).batch_size == 8
    assert recovery_recipe(len(data.train), 1).batch_size == len(data.train) // 40
