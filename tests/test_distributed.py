"""Training in two processes, as torchrun starts them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw

MEMBER = Path(__file__).parent / "support" / "team_member.py"
TRAINING = ("train", "--model", TINY, "--data", "digits", "--epochs", 3, "--json")


def test_two_processes_train_like_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They differ by batch norm, which sees half of a batch, and by the images' augmentation."""
    together, alone = tmp_path / "together.pt", tmp_path / "alone.pt"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [*launcher, MEMBER, *map(str, TRAINING), "--out", together], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert amc_hw(*TRAINING, "--out", alone) == 0
    answers = [json.loads(done.stdout), json.loads(capsys.readouterr().out)]  # one document: one process prints
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["alone.pt", "together.pt"]
    accuracies = [answer["test_accuracy"] for answer in answers]
    assert min(accuracies) > 0.7
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.1)
    weights = [torch.load(path, weights_only=True) for path in (together, alone)]
    flat = [torch.cat([each.flatten() for key, each in one.items() if key.endswith("weight")]) for one in weights]
    assert torch.cosine_similarity(flat[0], flat[1], dim=0) > 0.9
    assert not torch.equal(flat[0], flat[1])


def test_other_commands_refuse_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert amc_hw("compress", "--run", tmp_path / "run") == 2
    assert "compress works in one process" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
