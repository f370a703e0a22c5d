"""The league of contestants: its table, how it goes on after a stop, AMC's way, and a run of a tiny network."""

from __future__ import annotations

import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import TINY
from tiny import TinyNet
from torch import nn

from amc_hw.budget.network_costs import macs_cost
from amc_hw.data.dataset import load_data
from amc_hw.errors import BudgetError, UnsupportedModelError, UsageError, WrongRunError
from amc_hw.pipeline.steps import search_steps
from amc_hw.pipeline.trained import TrainedModel, make_trained_model


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    torch.manual_seed(0)
    return make_trained_model(TinyNet().eval(), load_data("digits"))


def result(benchmark: Any, way: str, top1: float, ms: float, budget: float | None = 0.5, seed: int | None = 0) -> Any:
    return benchmark("league_parts").Result(way, "fp32", budget, seed, top1, ms, 2.0)


def test_a_row_has_mean_and_spread_of_its_seeds_and_how_many_kept_the_budget(benchmark: Any) -> None:
    results = [result(benchmark, "auto", 0.90, 0.9), result(benchmark, "auto", 0.92, 1.1, seed=1)]
    line = benchmark("league_table").table(results).splitlines()[-1]
    assert line == "| 0.5x | auto | fp32 | 91.00% (2.00) | 0.500x (0.100) | 1.0000 | 1 of 2 | 2 |"


def test_the_table_begins_with_those_who_had_no_budget_and_puts_the_most_accurate_first(benchmark: Any) -> None:
    results = [
        result(benchmark, "worse", 0.8, 1.0),
        result(benchmark, "better", 0.9, 1.0),
        result(benchmark, "loose", 0.7, 1.4, budget=0.75),
        result(benchmark, "stock", 0.95, 2.0, budget=None, seed=None),
    ]
    head, rule, *lines = benchmark("league_table").table(results).splitlines()
    assert [line.split("|")[2].strip() for line in lines] == ["stock", "loose", "better", "worse"]
    assert lines[0] == "|  | stock | fp32 | 95.00% | 1.000x | 2.0000 |  |  |"
    assert {line.count("|") for line in (head, rule, *lines)} == {9}


def test_a_picture_is_drawn_of_one_result_and_of_many(benchmark: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    several = [result(benchmark, "auto", 0.9, 1.0, seed=seed) for seed in (0, 1)]
    for number, results in enumerate((several[:1], [*several, result(benchmark, "stock", 0.95, 2.0, None, None)])):
        benchmark("league_table").draw(results, tmp_path / f"{number}.png", "resnet20")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_contestant_is_refused_with_the_nearest(benchmark: Any) -> None:
    with pytest.raises(UsageError, match="greedy"):
        benchmark("league_parts").chosen(["gredy"], list(benchmark("league_parts").contestants("fp32")))


@pytest.mark.parametrize("named", [["resnet20"], ["resnet20=a.pt", "resnet20=b.pt"], ["original=a.pt"]])
def test_smaller_networks_are_named_once_with_their_checkpoint(benchmark: Any, named: list[str]) -> None:
    with pytest.raises(UsageError, match="NAME=CHECKPOINT"):
        benchmark("league_parts").stock_parts(named, "fp32")


@pytest.mark.parametrize("text", ["0.5", "0.5x, 0.25x"])
def test_budgets_are_shares(benchmark: Any, text: str) -> None:
    assert benchmark("league").budgets_of(text)[0] == 0.5


@pytest.mark.parametrize("text", ["", "12ms", "1.5x", "0.5x,", "nan"])
def test_what_is_no_share_is_refused(benchmark: Any, text: str) -> None:
    with pytest.raises(UsageError, match=r"0\.5x"):
        benchmark("league").budgets_of(text)


def test_everybody_takes_part_in_fp32_and_quantized_afterwards(benchmark: Any) -> None:
    in_float, in_int8 = (list(benchmark("league_parts").contestants(each)) for each in ("fp32", "int8"))
    assert {"tp-taylor-global", "amc", "amc-tightened", "greedy", "knapsack", "ddpg", "auto"} < set(in_float)
    assert set(in_int8) - set(in_float) == {"auto-in-float"}


def test_a_ratio_is_bisected_until_it_is_fast_enough_and_uses_the_budget(benchmark: Any) -> None:
    ratio = benchmark("ways").bisected(lambda ratio: 2 * (1 - ratio))
    assert 0.95 <= 2 * (1 - ratio) <= 0.995


def test_a_ratio_is_found_where_larger_ones_are_slower(benchmark: Any) -> None:
    assert benchmark("ways").bisected(lambda ratio: 0.98 if 0.24 < ratio < 0.41 else 1.2) == pytest.approx(0.25)


def test_a_ratio_that_is_never_fast_enough_is_an_error(benchmark: Any) -> None:
    with pytest.raises(BudgetError, match="larger budget"):
        benchmark("ways").bisected(lambda ratio: 1.2)


def test_one_ratio_is_that_of_every_group_and_leaves_no_block_out(benchmark: Any) -> None:
    choices = {"wide": (8, 16, 24, 32), "block": (0, 4, 8), "heads": (2, 3)}
    at_one_ratio = benchmark("ways_one_ratio").at_one_ratio
    assert at_one_ratio(choices, 0.0) == {"wide": 32, "block": 8, "heads": 3}
    assert at_one_ratio(choices, 0.4) == {"wide": 16, "block": 4, "heads": 2}
    assert at_one_ratio(choices, 0.9) == {"wide": 8, "block": 4, "heads": 2}


def test_a_budget_is_moved_until_the_file_is_fast_enough(benchmark: Any) -> None:
    asked: list[float] = []
    moved = benchmark("ways").moved(0.5, lambda wanted: asked.append(wanted) or 1.1 * wanted / 0.5)
    assert 0.95 <= 1.1 * moved / 0.5 <= 1
    assert asked == [0.5, moved]
    shares = iter([0.7, 1.2, 0.9, 1.1])
    wanted = 0.5 * 0.985 / 0.7 * 0.985 / 1.2  # the one that uses most of those that fit
    assert benchmark("ways").moved(0.5, lambda _: next(shares)) == pytest.approx(wanted)
    late = iter([1.2] * 5 + [0.8])  # where nothing fits yet, it goes on
    assert benchmark("ways").moved(0.5, lambda _: next(late)) == pytest.approx(0.5 * (0.985 / 1.2) ** 5)
    with pytest.raises(BudgetError, match="quiet machine"):
        benchmark("ways").moved(0.5, lambda wanted: 1.2)


def test_what_was_measured_is_not_measured_again(benchmark: Any, tmp_path: Path) -> None:
    file, measured = tmp_path / "tried.json", iter([0.9, 0.8])
    for _ in range(2):
        tried = benchmark("ways").Tried(file, lambda setting: next(measured))
        assert tried(0.25) == 0.9
    assert tried(0.5) == 0.8


def test_amcs_way_rounds_up_after_the_bound_and_remembers_the_wish(benchmark: Any, trained: TrainedModel) -> None:
    macs = macs_cost(trained.network)
    original = macs(trained.network.original)
    space = benchmark("ways_amc").AmcSpace(search_steps(trained), macs, 0.5 * original)
    rollout = space.rollout()
    assert [rollout.decide(0.99) for _ in space.steps] == [0.99] * len(space.steps)
    assert all(channels % 8 == 0 for channels in rollout.policy.values())
    assert 0.5 * original < macs(rollout.policy) < original


def test_amcs_way_keeps_a_fifth_of_every_group(benchmark: Any, trained: TrainedModel) -> None:
    space = benchmark("ways_amc").AmcSpace(search_steps(trained), macs_cost(trained.network), 1.0)
    rollout = space.rollout()
    while not rollout.done:
        rollout.decide(0.0)
    assert all(channels >= 0.2 * trained.network.original[group] for group, channels in rollout.policy.items())


def test_only_1x1_kernels_are_fitted_where_amcs_code_does_so(benchmark: Any, trained: TrainedModel) -> None:
    images = trained.task.statistics(16, 0)[0]
    fresh = benchmark("ways_amc").Fresh(trained, images, pointwise=True)
    assert list(fresh.rows) == ["classifier"]
    policy = {group: max(8, channels // 2) for group, channels in trained.network.original.items()}
    masked, small = fresh.masked(policy), fresh.small(policy)
    assert torch.allclose(masked(images), small(images), atol=1e-4)
    assert sum(each.numel() for each in small.parameters()) < sum(each.numel() for each in masked.parameters())


@pytest.mark.parametrize("importance", ["magnitude", "norm", "taylor"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_torch_pruning_prunes_more_for_a_larger_ratio(
    benchmark: Any, trained: TrainedModel, importance: str, everywhere: bool
) -> None:
    pytest.importorskip("torch_pruning")
    sizes = [
        sum(each.numel() for each in model.parameters())
        for ratio in (0.0, 0.3, 0.6)
        for model in [benchmark("ways_torch_pruning").pruned(trained, ratio, importance, everywhere=everywhere)]
    ]
    assert sizes[0] > sizes[1] > sizes[2]


def test_of_torch_prunings_roundings_the_one_stays_that_prunes_least(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = benchmark("ways_torch_pruning")
    ratios = {"a-rounded-4-tried.json": 0.6, "a-rounded-1-tried.json": 0.5}
    monkeypatch.setattr(ways, "bisected", lambda tried: ratios[tried.file.name])
    assert ways.rounded_ratio(lambda ratio, rounding: 1.0, tmp_path / "a") == (0.5, 1)

    def bisected(tried: Any) -> float:
        if tried.file.name in missing:
            raise BudgetError("no pruning ratio is fast enough.")
        return ratios[tried.file.name]

    monkeypatch.setattr(ways, "bisected", bisected)
    missing = {"a-rounded-1-tried.json"}
    assert ways.rounded_ratio(lambda ratio, rounding: 1.0, tmp_path / "a") == (0.6, 4)
    missing = set(ratios)
    with pytest.raises(BudgetError, match="no pruning ratio"):
        ways.rounded_ratio(lambda ratio, rounding: 1.0, tmp_path / "a")


def test_what_torch_pruning_cannot_do_is_an_error_of_ours(
    benchmark: Any, trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_pruning = pytest.importorskip("torch_pruning")

    def fails(*given: object, **named: object) -> None:
        raise KeyError("conv1")

    monkeypatch.setattr(torch_pruning.pruner, "MetaPruner", fails)
    with pytest.raises(UnsupportedModelError, match="cannot prune this network"):
        benchmark("ways_torch_pruning").pruned(trained, 0.5)


def test_a_network_that_misses_in_its_proof_is_made_smaller(benchmark: Any, tmp_path: Path) -> None:
    asked: list[float] = []

    class Bench:
        def write(self, network: float, file: Path) -> None:
            file.write_text(str(1.1 * network))  # ten per cent slower than it was found to be

        def share(self, file: Path, protocol: object) -> float:
            return float(file.read_text())

    def prunes(bench: Bench, budget: float, stem: Path, seed: int) -> float:
        asked.append(budget)
        return budget

    parts = benchmark("league_parts")
    for _ in range(2):  # the second time from its files
        file = parts.proved(prunes, Bench(), 0.5, tmp_path, 0)
        assert 0.97 < float(file.read_text()) / 0.5 <= 1
    assert len(asked) == 2


def test_finished_parts_of_the_precision_benchmark_are_found(benchmark: Any, tmp_path: Path) -> None:
    class Bench:
        out = tmp_path
        arguments = Namespace(seed=0, epochs=6)

        def run(self, folder: Path, budget: str, epochs: int, seed: int, precision: str) -> Path:
            assert (budget, epochs, seed, precision) == ("0.25x", 6, 0, "int8")
            return folder / "model.tflite"

    precision = benchmark("precision")
    names = ["float-then-int8-0.25x.tflite", "torch-pruning-0.25x.tflite"]
    for name in names:
        (tmp_path / name).touch()
    found = [way(Bench(), 0.25) for way in (precision.in_float, precision.in_torch_pruning, precision.in_int8)]
    assert found == [*(tmp_path / name for name in names), tmp_path / "int8-0.25x" / "model.tflite"]


@pytest.fixture
def play(
    benchmark: Any,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Return a function that plays the league in a folder of the test's, and returns what it prints."""
    pytest.importorskip("matplotlib")

    def call(*more: str) -> str:
        options = ("--model", TINY, "--checkpoint", str(checkpoint), "--data", "digits", "--seeds", "1", *more)
        monkeypatch.setattr(sys, "argv", ["league.py", *options, "--out", str(tmp_path / "league")])
        benchmark("league").main()
        return capsys.readouterr().out

    return call


def test_a_league_goes_on_where_it_was_stopped(
    benchmark: Any, play: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch_pruning")
    out, settings = tmp_path / "league", ("--epochs", "1", "--episodes", "2", "--budgets", "0.7x")
    only = ("--only", "amc,random,tp-norm", *settings)
    table = play(*only)
    assert sorted(line.split("|")[2].strip() for line in table.splitlines()[2:]) == ["amc", "random", "tp-norm"]
    assert (out / "league.png").exists()

    shutil.rmtree(out / "fp32" / "random-0.7x-seed0")  # as if it had never been finished
    kept = {file: file.read_bytes() for file in out.glob("fp32/*/result.json")}
    with monkeypatch.context() as patch:
        patch.setattr(benchmark("ways").Bench, "finetuned", nn.Module)  # what is finished needs no training
        again = play(*only)
    assert {file: file.read_bytes() for file in kept} == kept
    assert len(again.splitlines()) == len(table.splitlines())
    with pytest.raises(WrongRunError, match="epochs"):
        play("--epochs", "2", "--episodes", "2")


def test_a_contestant_that_fails_stops_no_other(
    benchmark: Any, play: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ("--only", "original,tp-norm", "--budgets", "0.7x", "--epochs", "1")

    def fails(*given: object, **named: object) -> None:
        raise UnsupportedModelError("Torch-Pruning is not installed.")

    monkeypatch.setattr(benchmark("ways_torch_pruning"), "pruned", fails)
    with pytest.raises(SystemExit, match=r"tp-norm-0\.7x-seed0 in fp32 failed: Torch-Pruning is not installed"):
        play(*only)
    assert "| int8 |" in capsys.readouterr().out
