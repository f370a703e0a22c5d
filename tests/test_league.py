"""The league of ways to make a network fast: from its start to its table, and again from its files."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from commands import TINY
from tiny import TinyNet

from amc_hw.budget.cost import Cost, Term
from amc_hw.data.dataset import load_data
from amc_hw.errors import AmcHwError, BudgetError, UsageError, WrongRunError
from amc_hw.pipeline.trained import make_trained_model
from amc_hw.runs.files import write_json
from amc_hw.search.space import Step

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a file of the benchmarks."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def load(name: str) -> ModuleType:
        __import__(name)
        return sys.modules[name]

    return load


@pytest.fixture
def options(checkpoint: Path, tmp_path: Path) -> Namespace:
    network = {"model": TINY, "checkpoint": checkpoint, "data": "digits", "data_root": None, "smaller": []}
    length = {"precision": "fp32", "budgets": "0.6x", "seeds": 1, "episodes": 2, "epochs": 1}
    return Namespace(**network, **length, only="uniform,amc-macs", out=tmp_path / "league")


def test_a_league_ends_with_a_table_and_prints_it_again_from_its_files(
    benchmark: Any, options: Namespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    league = benchmark("league")
    assert league.play(options)
    first = capsys.readouterr().out
    rows = [line.split("|")[2].strip() for line in first.splitlines() if line.startswith("|")]
    assert rows[:2] == ["way", "---"]
    assert sorted(rows[2:]) == ["amc-macs", "int8 alone", "original", "uniform"]
    assert (options.out / "fp32" / "league.png").stat().st_size > 1000
    monkeypatch.setattr(league, "Bench", None)  # nothing is left to do
    assert league.play(options)
    again = capsys.readouterr().out
    assert again.split("\n\n")[1] == first.split("\n\n")[1]
    assert league.play(Namespace(**{**vars(options), "only": "amc-macs"}))
    assert "uniform" not in capsys.readouterr().out


def test_what_is_not_reached_is_said_and_tried_again(
    benchmark: Any, options: Namespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    league = benchmark("league")

    def fails(*_: object) -> Path:
        raise BudgetError("no network is as fast.")

    def copies(bench: Any, budget: float, folder: Path, seed: int) -> Path:
        return Path(bench.original)

    options.only = "uniform,random"
    monkeypatch.setitem(league.WAYS, "uniform", fails)
    monkeypatch.setitem(league.WAYS, "random", copies)
    assert not league.play(options)
    out = capsys.readouterr().out
    assert "not reached: 0.6x uniform, seed 0: no network is as fast." in out
    assert "0 of 1" in next(line for line in out.splitlines() if line.startswith("| 0.6x | random |"))
    monkeypatch.setitem(league.WAYS, "uniform", copies)
    assert league.play(options)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"only": "unifrm"}, "uniform"),
        ({"budgets": "3ms"}, "must be shares"),
        ({"budgets": "0.5x-int8"}, "must be shares"),
        ({"smaller": ["resnet20"]}, "NAME=CHECKPOINT"),
        ({"smaller": ["resnet20=gone.pt"]}, "NAME=CHECKPOINT"),
    ],
)
def test_wrong_options_are_refused_before_the_work(
    benchmark: Any, options: Namespace, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        benchmark("league").play(Namespace(**{**vars(options), **changed}))
    assert not options.out.exists()


def test_a_wrong_checkpoint_leaves_no_league_behind(benchmark: Any, options: Namespace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.pt"):
        benchmark("league").play(Namespace(**{**vars(options), "checkpoint": tmp_path / "gone.pt"}))
    assert not options.out.exists()


def test_a_folder_is_one_league(benchmark: Any, options: Namespace) -> None:
    league = benchmark("league")
    league.require_same(options)
    options.out.mkdir()
    write_json(options.out / league.SETTINGS, league.shared(options))
    league.require_same(Namespace(**{**vars(options), "budgets": "0.3x", "seeds": 7}))
    with pytest.raises(WrongRunError, match="epochs 1, not 2; choose another folder"):
        league.require_same(Namespace(**{**vars(options), "epochs": 2}))


def test_torch_pruning_is_asked_for_where_it_is_missing(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = benchmark("league_ways")
    monkeypatch.setattr(ways, "find_spec", lambda name: None)
    assert "pip install torch-pruning" in ways.missing_package(["auto", "tp-norm"])
    assert ways.missing_package(["auto", "amc"]) == ""


def test_the_table_has_means_and_how_far_the_seeds_are_apart(benchmark: Any) -> None:
    made = benchmark("league_table")
    rows = [
        made.Row("auto", 0.5, 0, 0.90, 0.50, 1.0),
        made.Row("original", None, 0, 0.92, 1.0, 1.0),
        made.Row("random", 0.5, 0, 0.91, 0.48, 1.0),
        made.Row("auto", 0.5, 1, 0.94, 0.52, 1.0),
        made.Row("auto", 0.75, 0, 0.80, 0.7, 1.0),
    ]
    assert made.table(rows).splitlines()[2:] == [
        "| - | original | 92.00 | 1.0000 | 1.000 |  |",
        "| 0.75x | auto | 80.00 | 0.7000 | 0.700 | 1 of 1 |",
        "| 0.5x | auto | 92.00 (4.00) | 0.5100 (0.0200) | 0.510 (0.020) | 1 of 2 |",
        "| 0.5x | random | 91.00 | 0.4800 | 0.480 | 1 of 1 |",
    ]


def test_a_budget_is_moved_until_the_network_fits(benchmark: Any, tmp_path: Path) -> None:
    ways = benchmark("ways")
    assert 0.38 < ways.moved(0.5, ways.Tried(lambda asked: 1.25 * asked / 0.5, tmp_path / "tight.json")) < 0.4
    assert 0.6 < ways.moved(0.5, ways.Tried(lambda asked: 0.75 * asked / 0.5, tmp_path / "wide.json")) < 0.67


def test_a_ratio_is_bisected_until_the_network_fits(benchmark: Any, tmp_path: Path) -> None:
    ways = benchmark("ways")
    ratio = ways.bisected(ways.Tried(lambda asked: (1 - asked) / 0.5, tmp_path / "even.json"))
    assert 0.95 <= (1 - ratio) / 0.5 <= 1
    steep = ways.Tried(lambda asked: 0.9 if asked >= 0.9 else 1.1, tmp_path / "steep.json")
    assert ways.bisected(steep) == pytest.approx(0.9)


def test_where_nothing_fits_everything_is_measured_again_the_next_time(benchmark: Any, tmp_path: Path) -> None:
    ways, file = benchmark("ways"), tmp_path / "tried.json"
    for find in (ways.bisected, lambda tried: ways.moved(0.5, tried)):
        with pytest.raises(BudgetError, match="quiet machine"):
            find(ways.Tried(lambda asked: 1.1, file))
        assert not file.exists()
        assert find(ways.Tried(lambda asked: 0.97, file)) > 0
        file.unlink()


def test_what_was_measured_before_a_stop_is_not_measured_again(benchmark: Any, tmp_path: Path) -> None:
    tried, file, asked = benchmark("ways").Tried, tmp_path / "tried.json", []

    def used(ratio: float) -> float:
        asked.append(ratio)
        return 2 * ratio

    assert tried(used, file)(0.25) == 0.5
    again = tried(used, file)
    assert (again(0.25), again(0.5)) == (0.5, 1.0)
    assert asked == [0.25, 0.5]


def test_amc_rounds_up_after_the_bound_and_goes_on_where_nothing_fits(benchmark: Any) -> None:
    amc = benchmark("ways_amc")
    cost = Cost("macs", [Term((name,), lambda channels: float(channels[0])) for name in ("a", "b")])
    space = amc.OvershotSpace([Step(name, tuple(range(4, 21)), (1.0,)) for name in ("a", "b")], cost, 14.0)
    rollout = space.rollout()
    ratios = [rollout.decide(1.0), rollout.decide(1.0)]
    assert dict(rollout.policy) == {"a": 16, "b": 8}  # 10 and 4 by the bound
    assert ratios == [0.8, 0.4]
    rollout = space.rollout()
    rollout.decide(0.0)
    assert rollout.policy["a"] == 8
    assert cost({"a": 16, "b": 8}) > 14


def test_amc_fits_layers_of_1x1_alone_and_cuts_what_it_masks(benchmark: Any) -> None:
    amc, data = benchmark("ways_amc"), load_data("digits", None)
    trained = make_trained_model(TinyNet(), data)
    fresh = amc.Fresh(trained, data.train.first(64, 0)[0], any_kernel=False)
    assert list(fresh.rows) == ["classifier"]
    policy = {group.name: trained.network.original[group.name] // 2 for group in trained.network.groups}
    images, small = data.test.first(8, 0)[0], fresh.small(policy)
    assert torch.allclose(small(images), fresh.masked(policy).eval()(images), atol=1e-4)
    assert trained.network.macs(policy) < trained.network.macs(trained.network.original)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in trained.model.parameters())


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("name", ["magnitude", "norm", "taylor"])
def test_torch_pruning_takes_a_share_of_the_channels(benchmark: Any, name: str, everywhere: bool) -> None:
    pytest.importorskip("torch_pruning")
    trained = make_trained_model(TinyNet(), load_data("digits", None))
    small = benchmark("ways_torch_pruning").pruned(trained, 0.5, name, everywhere=everywhere)
    kept = [small.conv1[0].out_channels, small.conv2[0].out_channels, small.conv3[0].out_channels]
    assert sum(kept) <= 0.6 * (16 + 32 + 48)
    assert small(trained.example).shape == (1, 10)
    if not everywhere:
        assert kept == [8, 16, 24]


def test_a_network_that_torch_pruning_cannot_cut_is_a_sentence(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_pruning")
    ways = benchmark("ways_torch_pruning")
    trained = make_trained_model(TinyNet(), load_data("digits", None))
    monkeypatch.setattr(ways, "importance", lambda name: 1 / 0)
    with pytest.raises(AmcHwError, match="cannot prune this network: division by zero"):
        ways.pruned(trained, 0.5)
