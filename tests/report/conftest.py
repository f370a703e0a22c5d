"""A run folder as a finished compression leaves it, with plausible made-up numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GROUPS = {"conv1": 16} | {
    f"layer{stage}.{block}.conv1": 16 * 2 ** (stage - 1) for stage in (1, 2, 3) for block in (0, 1, 2)
}
DEVICE = {
    "device": "Intel Xeon Gold 6330 (x86_64)",
    "processor": "Intel Xeon Gold 6330",
    "system": "Linux 6.1",
    "runtime": "litert",
    "runtime_version": "2.1.0",
    "threads": 1,
    "cores": "0",
    "delegate": "xnnpack",
    "dtype": "float32",
    "batch_size": 1,
}


def synthetic_run(
    folder: Path, *, seed: int = 0, episodes: int = 120, ratio: float = 0.5, accuracy: float = 0.9098
) -> Path:
    """Write every file of a run folder; the finished network is measured just below ``ratio`` x 1.31 ms."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    target = 1.31 * ratio
    measured = 0.985 * target
    kept = {name: max(2, 4 * round(channels * rng.uniform(0.35, 1) / 4)) for name, channels in GROUPS.items()}
    _write(
        folder,
        "config.json",
        {
            "command": "amc-hw compress --model resnet20 --checkpoint resnet20.th --data cifar10 --latency "
            f"{ratio}x --episodes {episodes} --epochs 6 --run runs/{folder.name}",
            "model": "resnet20",
            "data": "cifar10",
            "device": "host",
            "latency": f"{ratio}x",
            "strategy": "ddpg",
            "episodes": episodes,
            "seed": seed,
            "finetune_epochs": 6,
            "channel_multiple": 8,
            "versions": {"amc-hw": "0.1.0", "torch": "2.11.0", "ai-edge-litert": "2.1.0"},
        },
    )
    lines: list[dict[str, Any]] = [{"format": 1, "settings": {"seed": seed, "strategy": "ddpg"}}]
    for number in range(episodes):
        learned = 1 - math.exp(-number / (0.3 * episodes))
        top1 = float(np.clip(0.45 + 0.37 * learned + rng.normal(0, 0.07 - 0.045 * learned), 0.1, 0.86))
        share = float(rng.uniform(0.93, 1))
        lines.append(
            {
                "episode": number,
                "channels": kept,
                "accuracy": round(top1, 4),
                "reward": round(top1 - 1, 4),
                "cost": round(target * share, 4),
                "latency_ms": round(target * share, 4),
                "seconds": 1.4,
            }
        )
    (folder / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    candidates = []
    for number in range(5):
        predicted = target * (0.998 - 0.012 * number)
        candidates.append(
            {
                "channels": kept if number == 1 else {**kept, "conv1": 4 + number},
                "score": round(0.861 - 0.004 * number, 4),
                "predicted_ms": predicted,
                "measured_ms": measured if number == 1 else predicted * (1 + (0.031, 0, -0.018, 0.009, 0.057)[number]),
                "repaired": number == 4,
            }
        )
    shares = [0.18 if name == "conv1" else 0.09 for name in GROUPS]
    _write(
        folder,
        "policy.json",
        {
            "format": 1,
            "channels": kept,
            "original_channels": GROUPS,
            "groups": [
                {
                    "name": name,
                    "original": channels,
                    "kept": kept[name],
                    "latency_ms_original": 1.31 * share,
                    "latency_ms_kept": 1.31 * share * (0.15 + 0.85 * kept[name] / channels),
                }
                for (name, channels), share in zip(GROUPS.items(), shares, strict=True)
            ],
            "candidates": candidates,
            "predicted_ms": candidates[1]["predicted_ms"],
            "measured_ms": measured,
        },
    )
    _write(
        folder,
        "finetune.json",
        {
            "epochs": [
                {
                    "epoch": epoch,
                    "train_loss": round(0.42 * math.exp(-epoch / 3) + 0.05, 4),
                    "search_accuracy": round(0.93 - 0.07 * math.exp(-epoch / 2), 4),
                    "lr": 0.01,
                }
                for epoch in range(1, 7)
            ]
        },
    )
    benchmark_models = []
    for name, latency in (("original", 1.31), ("compressed", measured)):
        repeats = []
        for drift in (0.997, 1.0, 1.004):
            samples = latency * 1000 * rng.lognormal(0, 0.012, 200)
            samples[rng.integers(0, 200, 3)] *= 1.25
            repeats.append({"samples_us": np.round(samples * drift * latency * 1000 / samples.mean(), 3).tolist()})
        benchmark_models.append(
            {
                "name": name,
                "file": "model.tflite" if name == "compressed" else "original.tflite",
                "repeats": repeats,
                "unstable": False,
                "latency_ms": latency,
            }
        )
    _write(
        folder,
        "benchmark.json",
        {
            "format": 1,
            "device": DEVICE,
            "protocol": {"warmup": 100, "runs": 200, "repeats": 3},
            "models": benchmark_models,
        },
    )
    (folder / "original.tflite").write_bytes(bytes(1_092_000))
    (folder / "model.tflite").write_bytes(bytes(431_000))
    _write(
        folder,
        "summary.json",
        {
            "format": 1,
            "model": "resnet20",
            "data": "cifar10",
            "device": DEVICE,
            "budget": {"metric": "latency_ms", "target": target, "ratio": ratio},
            "original": {
                "accuracy": 0.9173,
                "macs": 40.9e6,
                "params": 2.7e5,
                "latency_ms": 1.31,
                "predicted_ms": 1.30,
            },
            "compressed": {
                "accuracy_before_finetune": 0.853,
                "accuracy": accuracy,
                "macs": 18.4e6,
                "params": 1.05e5,
                "latency_ms": measured,
                "predicted_ms": candidates[1]["predicted_ms"],
                "channels": kept,
            },
            "search": {"strategy": "ddpg", "episodes": episodes, "seconds": 252.0, "seed": seed},
            "artifacts": {"tflite": "model.tflite", "torch": "model.pt"},
            "unverified": False,
        },
    )
    return folder


def _write(folder: Path, name: str, document: Any) -> None:
    (folder / name).write_text(json.dumps(document))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return synthetic_run(tmp_path / "r20")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    return lambda name, **settings: synthetic_run(tmp_path / name, **settings)


@pytest.fixture
def edit() -> Callable[[Path, Callable[[Any], None]], None]:
    """Change a JSON file: ``edit(path, lambda document: document.update(...))``."""

    def change(path: Path, how: Callable[[Any], None]) -> None:
        document = json.loads(path.read_text())
        how(document)
        path.write_text(json.dumps(document))

    return change
