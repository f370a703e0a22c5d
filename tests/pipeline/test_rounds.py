"""Channel pruning in two rounds: the second begins where the first ended, and both are held against the original."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw

from amc_hw.data.dataset import load_data


def test_two_rounds_end_within_the_originals_budget(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amc_hw.pipeline.finish.SMALL", 0)  # the digits are few, and this is about what many are
    run = tmp_path / "run"
    command = (
        *("compress", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", run),
        *("--macs", "0.4x", "--rounds", "0.7x", "--strategy", "uniform", "--episodes", 3, "--epochs", 2, "--json"),
    )
    assert amc_hw(*command) == 0
    summary = json.loads(capsys.readouterr().out)
    original, compressed = summary["original"], summary["compressed"]
    first, last = (json.loads((folder / "policy.json").read_text()) for folder in (run / "round-1", run))
    assert first["original_channels"] == last["original_channels"]
    assert all(last["channels"][group] <= kept for group, kept in first["channels"].items())
    assert first["channels"] != first["original_channels"]
    assert last["channels"] != first["channels"]
    assert 0.3 * original["macs"] < compressed["macs"] <= 0.4 * original["macs"]
    assert compressed["accuracy"] > original["accuracy"] - 0.1

    # What the last round pruned had learned since the first one pruned the original.
    tuned = torch.load(run / "round-1" / "model.pt", weights_only=True)
    assert tuned["conv1.0.weight"].shape[0] == first["channels"]["conv1.0"]

    # The validation split is learned when nothing is scored on it any more.
    data = load_data("digits")
    images = [
        torch.load(folder / "finetune-2.state", weights_only=True)["identity"]["images"]
        for folder in (run / "round-1", run)
    ]
    assert images == [len(data.train), len(data.train) + len(data.search)]
    told = [json.loads((folder / "finetune.json").read_text()) for folder in (run / "round-1", run)]
    assert [each["search_split_learned"] for each in told] == [False, True]

    assert amc_hw(*command, "--rounds", "0.6x") != 0
    assert "0.7x" in capsys.readouterr().err
    assert amc_hw(*command, "--epochs", 3) != 0
    assert "epochs 2, not 3" in capsys.readouterr().err
