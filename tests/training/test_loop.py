from __future__ import annotations

import copy
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from amc_hw.chance import standard_error
from amc_hw.data.dataset import Data, load_data
from amc_hw.errors import RunFolderError, UsageError
from amc_hw.runs.progress import Progress, Update
from amc_hw.tasks.classification import Classification
from amc_hw.training.evaluation import evaluate
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe, distillation_loss, placed
from amc_hw.training.state import History

EPOCHS = 4


class Interrupted(KeyboardInterrupt):
    pass


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits")


def small_net(seed: int = 0, dropout: float = 0.2) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=4, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(144, 10),
        )


def run(model: nn.Module, data: Data, **options) -> History:
    recipe = {each.name: options.pop(each.name) for each in fields(Recipe) if each.name in options}
    return train(model, data, Recipe(**{"epochs": EPOCHS, "lr": 0.1, "batch_size": 64, **recipe}), **options)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def trained(data: Data) -> tuple[nn.Module, History]:
    model = small_net()
    return model, run(model, data)


def test_it_learns_and_ends_with_the_best_weights(data: Data, trained: tuple[nn.Module, History]) -> None:
    model, history = trained
    assert len(history.losses) == len(history.accuracies) == EPOCHS
    assert history.losses[-1] < history.losses[0] / 2
    assert history.start_accuracy < 0.4
    assert history.kept_accuracy == max(history.accuracies) == history.accuracies[history.kept_epoch - 1]
    assert evaluate(model, data.search) == history.kept_accuracy
    assert evaluate(model, data.test) > 0.75
    assert not model.training


def test_it_ends_once_it_is_accurate_enough(data: Data, trained: tuple[nn.Module, History]) -> None:
    _, whole = trained
    enough = whole.accuracies[0]
    model = small_net()
    first = run(model, data, enough=enough)
    assert first.accuracies == whole.accuracies[:1]
    before = weights(model)
    assert run(model, data, enough=enough).accuracies == []  # it was accurate enough
    assert same(weights(model), before)


def test_a_candidate_that_is_as_good_as_its_teacher_is_not_fine_tuned(trained: tuple[nn.Module, History]) -> None:
    goal, teacher, worse = Classification(load_data("digits")), copy.deepcopy(trained[0]), small_net()
    nearly = copy.deepcopy(teacher)
    with torch.no_grad():
        next(iter(nearly.parameters())).mul_(1.001)
    before, has = weights(nearly), goal.validate(nearly)
    assert goal.short_finetune(nearly, teacher, 1e6, 0) == has
    assert same(weights(nearly), before)
    before, has = weights(worse), goal.validate(teacher)
    assert goal.validate(worse) < has - standard_error(has, goal.search_images)
    goal.short_finetune(worse, teacher, 1e6, 0)
    assert not same(weights(worse), before)


def test_the_same_seed_gives_the_same_network(data: Data, trained: tuple[nn.Module, History]) -> None:
    torch.manual_seed(99)  # dropout must not depend on it
    global_state = torch.get_rng_state()
    model = small_net()
    history = run(model, data)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert history == trained[1]
    assert same(weights(model), weights(trained[0]))
    other = small_net()
    run(other, data, seed=1)
    assert not same(weights(other), weights(model))


@pytest.mark.parametrize(
    "options", [{}, {"ema": 0.9}, {"optimizer": "adamw", "lr": 1e-3}], ids=["plain", "averaged", "adamw"]
)
def test_resuming_gives_the_result_of_an_undisturbed_run(data: Data, tmp_path: Path, options: dict) -> None:
    undisturbed = small_net()
    expected = run(undisturbed, data, **options)
    steps_an_epoch = math.ceil(len(data.train) / 64)

    for stop in (2 * steps_an_epoch + 3, 3 * steps_an_epoch + 1):

        def interrupt(update: Update, stop: int = stop) -> None:
            assert update.total == EPOCHS * steps_an_epoch
            if update.done == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            run(small_net(), data, progress=Progress(interrupt), state_path=tmp_path / "state.pt", **options)

    steps: list[int] = []
    model = small_net()
    history = run(
        model,
        data,
        progress=Progress(lambda update: steps.append(update.done)),
        state_path=tmp_path / "state.pt",
        **options,
    )
    assert steps == list(range(3 * steps_an_epoch + 1, 4 * steps_an_epoch + 1))
    assert history == expected
    assert same(weights(model), weights(undisturbed))

    again = small_net()
    assert run(again, data, state_path=tmp_path / "state.pt", **options) == expected
    assert same(weights(again), weights(undisturbed))


def test_an_interrupt_leaves_the_best_weights(data: Data) -> None:
    accuracies: list[str] = []

    def interrupt(update: Update) -> None:
        accuracies.append(update.note)
        if update.done == update.total - 1:
            raise Interrupted

    model = small_net()
    with pytest.raises(Interrupted):
        run(model, data, progress=Progress(interrupt))
    assert not model.training
    assert evaluate(model, data.search) > 0.5
    assert accuracies[-1].startswith(f"epoch {EPOCHS}/{EPOCHS}, validation split ")


def test_training_that_only_harms_gives_the_start_back(data: Data, trained: tuple[nn.Module, History]) -> None:
    model = small_net()
    model.load_state_dict(trained[0].state_dict())
    history = run(model, data, epochs=1, lr=30.0)
    assert history.kept_epoch == 0
    assert history.kept_accuracy == history.start_accuracy
    assert same(weights(model), weights(trained[0]))


def test_the_last_weights_are_kept_although_the_first_score_better(
    data: Data, trained: tuple[nn.Module, History]
) -> None:
    model = small_net()
    model.load_state_dict(trained[0].state_dict())
    history = run(model, data, epochs=2, lr=3.0, keep_last=True)
    assert history.kept_epoch == 2
    assert evaluate(model, data.search) == history.kept_accuracy == history.accuracies[-1] < history.start_accuracy


def test_no_epochs_only_scores(data: Data, trained: tuple[nn.Module, History]) -> None:
    model = small_net()
    before = weights(model)
    history = run(model, data, epochs=0)
    assert (history.losses, history.kept_epoch) == ([], 0)
    assert same(weights(model), before)


def test_the_test_set_is_not_touched(data: Data) -> None:
    class Forbidden:
        def __getattr__(self, name: str) -> None:
            raise AssertionError("training looked at the test set")

    blind = Data(**{**vars(data), "test": Forbidden()})
    run(small_net(), blind, epochs=1)


def test_divergence_is_reported(data: Data) -> None:
    model = small_net()
    before = weights(model)
    with pytest.raises(UsageError, match=r"diverged in epoch 1.*below 1e\+30"):
        run(model, data, lr=1e30, warmup_epochs=0)
    assert same(weights(model), before)


@pytest.mark.parametrize("change", [{"lr": 0.2}, {"epochs": 9}, {"seed": 4}, {"ema": 0.5}, {"teacher": small_net(1)}])
def test_a_state_of_another_training_is_refused(data: Data, tmp_path: Path, change: dict) -> None:
    settings = {"epochs": 1, "state_path": tmp_path / "state.pt"}
    run(small_net(), data, **settings)
    with pytest.raises(RunFolderError, match=f"another training .*{next(iter(change))}"):
        run(small_net(), data, **{**settings, **change})
    with pytest.raises(RunFolderError, match=r"another training \(start differ"):
        run(small_net(seed=1), data, **settings)


def test_a_state_has_the_keys_by_which_earlier_versions_know_it(data: Data, tmp_path: Path) -> None:
    run(small_net(), data, epochs=1, state_path=tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["format"] == 2
    assert state["identity"] | {"start": ""} == {
        "epochs": 1,
        "lr": 0.1,
        "batch_size": 64,
        "weight_decay": 1e-4,
        "warmup_epochs": 1.0,
        "label_smoothing": 0.0,
        "ema": None,
        "keep_last": False,
        "seed": 0,
        "data": "digits",
        "images": len(data.train),
        "teacher": False,
        "start": "",
    }


@pytest.mark.parametrize("content", [b"", b"not a state", None])
def test_a_damaged_state_is_refused(data: Data, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state.pt"
    if content is None:
        torch.save({"format": 1}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"no training state; delete it"):
        run(small_net(), data, epochs=1, state_path=path)


def test_a_state_with_a_changed_byte_is_refused(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    run(small_net(), data, epochs=1, state_path=path)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(RunFolderError, match=r"no training state; delete it"):
        run(small_net(), data, epochs=1, state_path=path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"lr": 0.0},
        {"lr": math.nan},
        {"batch_size": 0},
        {"weight_decay": -1.0},
        {"warmup_epochs": -1.0},
        {"ema": 1.0},
    ],
)
def test_impossible_settings(data: Data, wrong: dict) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(wrong))} must be"):
        run(small_net(), data, **wrong)


def test_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(10, 0.4, 64, 0.0, 2.0)
    rates = [recipe.learning_rate(step, 5) for step in range(50)]
    assert rates[:10] == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert rates[10] == 0.4
    assert rates[30] == pytest.approx(0.2)
    assert 0 < rates[-1] < 0.002
    assert rates[10:] == sorted(rates[10:], reverse=True)
    short = Recipe(1, 0.4, 64, 0.0, 5.0)
    assert max(short.learning_rate(step, 6) for step in range(6)) == pytest.approx(0.4)


def test_distillation_loss_is_least_for_the_teachers_outputs() -> None:
    target = torch.randn(6, 10)
    logits = target.clone().requires_grad_()
    assert distillation_loss(logits, target + 3).item() == pytest.approx(0, abs=1e-5)
    other = torch.randn(6, 10)
    expected = 16 * nn.functional.kl_div((other / 4).log_softmax(1), (target / 4).softmax(1), reduction="batchmean")
    assert distillation_loss(other, target).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_student_follows_its_teacher(data: Data, trained: tuple[nn.Module, History]) -> None:
    """The teacher's outputs are closer with it than without, and the teacher stays as it is."""
    teacher = trained[0]
    before = weights(teacher)
    images, _ = next(data.search.batches(len(data.search)))
    distances = []
    for option in (teacher, None):
        student = small_net(seed=3)
        run(student, data, teacher=option, epochs=6)
        with torch.no_grad():
            distances.append(distillation_loss(student(images), teacher(images)).item())
    assert distances[0] < distances[1]
    assert same(weights(teacher), before)


def test_evaluate_counts_and_leaves_the_model_alone(data: Data) -> None:
    model = small_net().train()
    before = weights(model)
    accuracy = evaluate(model, data.test, batch_size=100)
    model.eval()
    images, labels = next(data.test.batches(len(data.test)))
    assert accuracy == (model(images).argmax(1) == labels).sum().item() / len(labels)
    model.train()
    evaluate(model, data.test)
    assert model.training
    assert same(weights(model), before)
    assert all(each.is_contiguous() for each in model.parameters())


class Viewed(nn.Module):
    """Flattens as networks are often written: ``view`` refuses what lies channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=4)
        self.linear = nn.Linear(4 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.linear(x.view(x.size(0), -1))


def test_networks_that_flatten_by_view_are_trained_and_scored(data: Data) -> None:
    torch.manual_seed(0)
    model = Viewed()
    history = train(model, data, Recipe(epochs=2, lr=0.05, batch_size=64), teacher=Viewed())
    assert history.kept_accuracy > 0.3
    assert evaluate(model, data.search) == history.kept_accuracy
    images, _ = data.train.first(4, 0)
    assert images.stride() == (32 * 32, 32 * 32, 32, 1)  # is_contiguous() would be true of channels-last, too
    assert images.is_contiguous()  # for those who call the network themselves


class ByView(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1)


def test_a_network_that_views_runs_after_it_was_scored(data: Data) -> None:
    torch.manual_seed(0)
    model = Viewed()
    evaluate(model, data.search)
    assert model.conv.weight.stride() == (9, 9, 3, 1)
    assert model(data.train.first(4, 0)[0]).shape == (4, 10)


class ViewedWhileItLearns(Viewed):
    """Flattens by ``view`` in training mode alone."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.linear(x.view(x.size(0), -1) if self.training else x.flatten(1))


def test_a_network_that_views_in_training_alone_is_trained(data: Data) -> None:
    torch.manual_seed(0)
    assert run(ViewedWhileItLearns(), data, epochs=2, lr=0.05).kept_accuracy > 0.3


@pytest.mark.parametrize("flatten", [nn.Flatten, ByView])
def test_only_a_network_that_views_stays_contiguous(data: Data, flatten: type[nn.Module]) -> None:
    model = small_net()
    model[6] = flatten()
    with placed(model, torch.device("cpu"), data.train.first(2, 0)[0], learns=True):
        assert model[3].weight.is_contiguous() == (flatten is ByView)


class WritesIntoAView(nn.Module):
    """Fades a map through a view of it, which is a copy where the map lies channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=4)
        self.linear = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        x.view(len(x), -1).mul_(torch.linspace(-5, 5, x[0].numel(), device=x.device))
        return self.linear(x.mean((2, 3)))


@pytest.mark.parametrize("kind", [Viewed, WritesIntoAView])
def test_a_network_computes_the_same_where_it_is_placed(data: Data, kind: Any) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    images, _ = data.train.first(8, 0)
    with torch.no_grad():
        before = model(images)
        with placed(model, torch.device("cpu"), images[:2]):
            torch.testing.assert_close(model(images), before, rtol=1e-3, atol=1e-4)
