"""A run begins with one network and goes on with the same one, from the command line and from Python."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from tiny import TinyNet
from torch import nn

from amc_hw.data.dataset import load_data
from amc_hw.errors import BudgetError, UsageError, WrongRunError
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.pipeline.begin import begin, open_trained
from amc_hw.runs.begun import open_run
from amc_hw.runs.config import make_config
from amc_hw.runs.files import append_line
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import trace_model

OWN = make_config(model="TinyNet", data="digits", episodes=5)


def test_another_network_in_the_same_run_folder_is_refused(tmp_path: Path) -> None:
    model, data = TinyNet(), load_data("digits")
    begin(RunFolder(tmp_path), OWN, SILENT, own=(model, data))
    kept = (tmp_path / "baseline.pt").read_bytes()
    assert begin(RunFolder(tmp_path), OWN, SILENT, own=(copy.deepcopy(model), data))[1].data.name == "digits"

    retrained = copy.deepcopy(model)
    with torch.no_grad():
        next(retrained.parameters()).add_(0.01)
    with pytest.raises(WrongRunError, match=r"this network with other weights \(.*weight differs\)"):
        begin(RunFolder(tmp_path), OWN, SILENT, own=(retrained, data))

    wider = copy.deepcopy(model)
    wider.add_module("more", nn.Linear(3, 3))
    with pytest.raises(WrongRunError, match=r"a run of another network \(.*missing: more.weight"):
        begin(RunFolder(tmp_path), OWN, SILENT, own=(wider, data))
    assert (tmp_path / "baseline.pt").read_bytes() == kept


def test_a_run_by_name_goes_on_with_the_weights_that_it_began_with(tmp_path: Path) -> None:
    weights, run = tmp_path / "weights.pt", tmp_path / "run"
    first, second = TinyNet(), TinyNet()
    save_checkpoint(first, weights)
    tiny = f"{Path(__file__).parents[1] / 'support' / 'tiny.py'}:tiny"
    config = make_config(model=tiny, data="digits", checkpoint=weights)
    begin(RunFolder(run), config, SILENT)
    save_checkpoint(second, weights)
    state = begin(RunFolder(run), config, SILENT)[1].model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in first.state_dict().items())
    weights.unlink()
    with pytest.raises(UsageError, match="there is no checkpoint"):
        begin(RunFolder(run), config, SILENT)


def test_tables_know_a_runs_network_by_the_name_in_its_settings(tmp_path: Path) -> None:
    save_checkpoint(TinyNet(), tmp_path / "weights.pt")
    run, model = RunFolder(tmp_path / "run"), f"{Path(__file__).parents[1] / 'support' / 'tiny.py'}:TinyNet"
    _, trained = begin(run, make_config(model=model, data="digits", checkpoint=tmp_path / "weights.pt"), SILENT)
    assert trained.name == open_trained(run.path)[1].name == model
    assert trace_model(TinyNet(), (1, 32, 32)).name == "TinyNet"


def test_a_folder_of_the_version_before_is_gone_on_with(tmp_path: Path) -> None:
    """What stands in config.json kept its names and meaning."""
    before = {
        "format": 1,
        "model": "m",
        "checkpoint": "/w.pt",
        "data": "digits",
        "data_root": None,
        "device": "host",
        "table": None,
        "metric": "macs",
        "budget": "0.5x",
        "limits": {"size_bytes": "90kB"},
        "rounds": ["0.7x"],
        "granularity": "channels",
        "importance": "reconstruction",
        "reward": "resource",
        "accuracy_floor": None,
        "strategy": "auto",
        "agent": None,
        "episodes": 100,
        "seed": 0,
        "multiple": 8,
        "lower": 0.2,
        "keep_blocks": False,
        "exclude": ["a"],
        "include": [],
        "epochs": 20,
        "command": "",
        "versions": {},
    }
    (tmp_path / "config.json").write_text(json.dumps(before))
    append_line(tmp_path / "episodes.jsonl", {"episode": 0})
    config = make_config(
        model="m", checkpoint="/w.pt", data="digits", macs="0.5x", size="90kB", rounds="0.7x", exclude=["a"], epochs=20
    )
    assert open_run(tmp_path, config) == config
    with pytest.raises(WrongRunError, match=r"lower 0\.2, not 0\.3"):
        open_run(tmp_path, config.model_copy(update={"lower": 0.3}))
    # An earlier round of it: its own budget is the first of the rounds.
    round_1 = tmp_path / "round-1"
    round_1.mkdir()
    (round_1 / "config.json").write_text(json.dumps({**before, "budget": "0.7x", "limits": {}}))
    open_run(round_1, config.model_copy(update={"budget": "0.7x", "limits": {}}))


@pytest.mark.parametrize(
    ("budget", "says"), [({"params": "1k"}, "parameters"), ({"macs": "0.01x", "lower": 0.9}, r"MACs \(0.01x\)")]
)
def test_a_count_that_is_out_of_reach_is_refused_before_the_demonstration_trains(
    budget: dict[str, object], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amc_hw.pipeline.begin.train", None)  # nothing is trained
    with pytest.raises(BudgetError, match=f"{says} cannot be reached; the least"):
        begin(RunFolder(tmp_path / "run"), make_config(**budget), SILENT)
    assert not (tmp_path / "run").exists()


def test_the_length_of_a_search_is_fixed_once_it_has_begun(tmp_path: Path) -> None:
    run, own = RunFolder(tmp_path), (TinyNet(), load_data("digits"))
    begin(run, OWN, SILENT, own=own)
    begin(run, longer := OWN.model_copy(update={"episodes": 6}), SILENT, own=own)
    append_line(tmp_path / "episodes.jsonl", {"episode": 0})
    before = run.config.read_bytes()
    with pytest.raises(WrongRunError, match="is a run with episodes 6, not 7; choose another"):
        begin(run, longer.model_copy(update={"episodes": 7}), SILENT, own=own)
    assert run.config.read_bytes() == before


def test_fine_tuned_weights_that_are_lost_are_not_replaced_by_pruned_ones(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.pruned.touch()
    assert run.best_weights == run.pruned
    run.finetune.path.touch()
    assert run.best_weights == run.finetuned
