"""Settings are checked one by one when they are made; names are those of the registries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amc_hw.errors import RunFolderError, UsageError
from amc_hw.formats.registry import FORMATS
from amc_hw.models.names import ZOO
from amc_hw.models.zoo import build_model
from amc_hw.pruning.importance import RANKINGS
from amc_hw.runs.begun import open_run, read_config
from amc_hw.runs.config import make_config
from amc_hw.runs.names import AGENT_STRATEGY, EXPORTS, IMPORTANCES, REWARDS, STRATEGIES
from amc_hw.search.rewards import REWARDS as ALL_REWARDS
from amc_hw.search.strategies import STRATEGIES as ALL_STRATEGIES


def test_the_names_are_those_of_the_registries() -> None:
    assert set(STRATEGIES) == set(ALL_STRATEGIES)
    assert AGENT_STRATEGY in ALL_STRATEGIES
    assert set(REWARDS) == set(ALL_REWARDS)
    assert set(IMPORTANCES) == set(RANKINGS)
    assert set(EXPORTS) == {*FORMATS, "pt2", "torch"}


@pytest.mark.parametrize("name", ZOO)
def test_every_name_of_the_zoo_is_built(name: str) -> None:
    assert sum(parameter.numel() for parameter in build_model(name, 10).parameters()) > 1e5


def test_the_first_budget_is_the_runs_and_the_others_are_limits() -> None:
    config = make_config(size="500kB", macs="0.5x", latency=None)
    assert (config.metric, config.budget, config.limits) == ("macs", "0.5x", {"size_bytes": "500kB"})
    assert (make_config().metric, make_config().budget) == ("latency_ms", "0.5x")


def test_paths_are_kept_absolute_and_lists_may_be_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_config(checkpoint=Path("w.pt"), table="t.json", rounds="0.8x,0.6x")
    assert (config.checkpoint, config.table) == (str(tmp_path / "w.pt"), str(tmp_path / "t.json"))
    assert config.rounds == make_config(rounds=["0.8x", "0.6x"]).rounds == ("0.8x", "0.6x")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"epizodes": 3}, "unknown setting 'epizodes'; did you mean 'episodes'"),
        ({"latencie": "0.5x"}, "did you mean 'latency'"),
        ({"strategy": "dpg"}, "did you mean 'ddpg'"),
        ({"importance": "tailor"}, "did you mean 'taylor'"),
        ({"reward": "resorce"}, "did you mean 'resource'"),
        ({"exclude": "conv1"}, "exclude: 'conv1' is one text where a list of texts is needed"),
        ({"accuracy_floor": 90}, "accuracy_floor: "),
        ({"multiple": 6}, "multiple: 6 is no power of two"),
        ({"lower": 0.0}, "lower: "),
        ({"episodes": "many"}, "episodes: "),
    ],
)
def test_a_wrong_setting_is_one_sentence(setting: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_config(**setting)


def test_a_damaged_setting_in_a_run_folder_is_the_folders_fault(tmp_path: Path) -> None:
    open_run(tmp_path, make_config())
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**document, "strategy": "dpg"}))
    with pytest.raises(RunFolderError, match=r"config.json is damaged \(unknown strategy 'dpg'"):
        read_config(tmp_path)
