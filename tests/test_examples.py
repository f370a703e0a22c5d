"""The examples run as they stand."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from amc_hw.data.dataset import load_data

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_environment_of_the_example_scores_pruned_networks_within_the_budget() -> None:
    module = example("stable_baselines3_td3")
    environment, accuracies = module.make_environment(module.small_network(), load_data("digits"), "0.5x", seed=0)
    state, _ = environment.reset(seed=0)
    ended = False
    while not ended:
        assert state in environment.observation_space
        state, reward, ended, _, info = environment.step([0.7])
    assert accuracies == {tuple(info["policy"].values()): info["accuracy"]}
    assert reward == info["accuracy"] - 1
    assert info["cost"] <= 0.5 * environment.space.original_cost


def test_td3_of_stable_baselines3_finds_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
    example("stable_baselines3_td3").main(["--episodes", "8", "--epochs", "1"])
    td3, uniform = capsys.readouterr().out.splitlines()
    assert td3.startswith("TD3, best of 8 episodes: ")
    assert uniform.startswith("uniform: ")


def test_the_segmentation_network_is_compressed_and_proved_by_its_own_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("litert_torch")
    example("segmentation").main(["--quick", "--episodes", "3", "--out", str(tmp_path)])
    said = dict(re.findall(r"(\w+) +mean IoU +([\d.]+)%", capsys.readouterr().out))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metric"] == "mean IoU"
    assert summary["compressed"]["macs"] < summary["original"]["macs"]
    for name in ("original", "compressed"):
        assert float(said[name]) == pytest.approx(100 * summary[name]["accuracy"], abs=0.01)


def test_the_keyword_spotter_is_compressed_in_the_precision_that_was_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("litert_torch")
    example("keywords").main(["--quick", "--episodes", "3", "--out", str(tmp_path)])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metric"] == "accuracy of words"
    assert f"{summary['precision']} ships" in capsys.readouterr().out


def test_the_embedding_of_faces_gets_smaller_and_keeps_its_length(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    faces = example("embedding")
    faces.main(["--quick", "--episodes", "3", "--out", str(tmp_path)])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metric"] == "rank-1"
    assert summary["compressed"]["macs"] < summary["original"]["macs"]
    assert summary["original"]["accuracy"] > 3 / 12 / 4  # twelve people


def test_drawn_faces_are_alike_for_a_person_and_not_for_two() -> None:
    faces = example("embedding")
    images = faces.draw(40, 0).images.flatten(2)
    same = (images[:, 0] - images[:, 1]).square().mean()
    other = (images[:-1, 0] - images[1:, 1]).square().mean()
    assert 0 < 1.2 * float(same) < float(other)


def test_the_detector_gets_smaller_within_its_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("detector").main(["--quick", "--episodes", "3", "--out", str(tmp_path)])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    macs = {name: float(re.search(r"([\d.]+) M MACs", line)[1]) for name, line in lines.items()}  # type: ignore[index]
    assert macs["pruned"] == macs["fine-tuned"] <= 0.5 * macs["trained"] + 0.01
    assert (tmp_path / "episodes.jsonl").read_text().count("\n") == 1 + 3
