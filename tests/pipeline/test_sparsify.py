"""Fine-grained pruning of a tiny network in two rounds, and what is not repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sparse"
    assert amc_hw(*command(checkpoint, folder)) == 0
    return folder


def command(checkpoint: Path, folder: Path, *more: object) -> tuple[object, ...]:
    network = ("sparsify", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", "--run", folder)
    return (*network, "--size", "0.3x", "--rounds", "0.5x", "--episodes", 12, "--epochs", 2, *more)


def weights(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)


def test_budgets_are_of_the_original_and_kept(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert summary["warnings"] == []  # the network is trained, all of it learns, it has one head
    original, compressed = summary["original"], summary["compressed"]
    assert [each["target_bytes"] for each in summary["rounds"]] == [
        share * original["nonzero_bytes"] for share in (0.5, 0.3)
    ]
    for each in summary["rounds"]:
        assert 0.95 * each["target_bytes"] < each["nonzero_bytes"] <= each["target_bytes"]
    assert compressed["nonzero_bytes"] == summary["rounds"][-1]["nonzero_bytes"]
    assert compressed["nonzero_params"] == sum(
        int(t.count_nonzero())
        for k, t in weights(run / "model.pt").items()
        if "running" not in k and "num_batches" not in k
    )
    assert compressed["size_bytes"] == pytest.approx(original["size_bytes"], rel=0.01)
    assert compressed["deflated_bytes"] < 0.6 * original["deflated_bytes"]
    assert compressed["accuracy"] > 0.5
    assert "latency_ms" not in compressed


def test_a_round_begins_with_the_zeros_of_the_one_before(run: Path) -> None:
    first, last = weights(run / "round-1" / "model.pt"), weights(run / "model.pt")
    for key in (key for key in first if key.startswith("conv") and key.endswith("0.weight")):
        assert not ((first[key] == 0) & (last[key] != 0)).any()
        assert 0.19 < (last[key] != 0).sum() / (first[key] != 0).sum() <= 1
    parts = [json.loads((folder / "sparsity.json").read_text())["parts"] for folder in (run / "round-1", run)]
    assert all(after <= parts[0][layer] for layer, after in parts[1].items())


def test_the_same_command_repeats_nothing(run: Path, checkpoint: Path) -> None:
    names = ("episodes.jsonl", "sparsity.json", "model.pt")
    before = {folder / name: (folder / name).stat().st_mtime_ns for folder in (run, run / "round-1") for name in names}
    assert amc_hw(*command(checkpoint, run)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_last_round_that_was_lost_is_made_again(run: Path, checkpoint: Path) -> None:
    expected = weights(run / "model.pt")
    log = (run / "episodes.jsonl").read_text().splitlines()
    (run / "episodes.jsonl").write_text("\n".join([*log[:6], log[6][:20]]))
    for name in ("sparsity.json", "model.pt", "finetune.state", "summary.json"):
        (run / name).unlink()
    assert amc_hw(*command(checkpoint, run)) == 0
    again = weights(run / "model.pt")
    assert all(torch.equal(expected[key], again[key]) for key in expected)


@pytest.mark.parametrize("content", ["{}", "[]", '{"parts": {"conv1.0": 3}}', "null", "{"])
def test_a_damaged_policy_of_a_round_is_named_with_the_cure(
    run: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    policy = run / "round-1" / "sparsity.json"
    before = policy.read_text()
    policy.write_text(content)
    try:
        assert amc_hw(*command(checkpoint, run)) == 1
    finally:
        policy.write_text(before)
    told = " ".join(capsys.readouterr().err.split())
    assert f"{policy} is damaged" in told
    options = " ".join(map(str, command(checkpoint, run)[1:])).replace(f" --run {run}", "")
    assert f"delete it and make it again with: amc-hw sparsify {options} --run {run}" in told


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--epochs", 3), "epochs 2, not 3"),
        (("--rounds", "0.2x"), "0.3x is not smaller"),
        (("--rounds", "90kB"), "falling shares"),
        (("--rounds", "0.1x", "--size", "0.05x"), "the least that"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    run: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple, says: str
) -> None:
    folder = run if "--epochs" in more else tmp_path / "other"
    assert amc_hw(*command(checkpoint, folder, *more)) != 0
    assert says in " ".join(capsys.readouterr().err.split())
