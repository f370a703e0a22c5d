"""Holds a latency table against its device: random networks are predicted, built, measured and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from amc_hw.clock import spread, visit_ms
from amc_hw.devices.base import Device
from amc_hw.devices.turns import measuring
from amc_hw.errors import UnsupportedModelError
from amc_hw.export.formats import export, find_format
from amc_hw.latency.graph import GraphTemplate
from amc_hw.latency.prediction import Predictor
from amc_hw.policy import Policy
from amc_hw.pruning.surgery import shrink
from amc_hw.rig import effort_of
from amc_hw.run_folder import write_bytes
from amc_hw.stages.deployed import example_for
from amc_hw.stages.subject import Traced
from amc_hw.stages.table import profile

Progress = Callable[[int, int, str], None]

LEAST_VISITS = 3
LOWEST_RATIO = 0.2


@dataclass(frozen=True)
class CheckedNetwork:
    """One network; ``measured_ms`` is the median of the visits' means, ``halves_ms`` that of every second visit."""

    channels: dict[str, int]
    predicted_ms: float
    measured_ms: float
    halves_ms: tuple[float, float]
    spread: float

    @property
    def error(self) -> float:
        """Signed error of the prediction, a fraction of the measurement."""
        return self.predicted_ms / self.measured_ms - 1


@dataclass(frozen=True)
class TableCheck:
    """How well a table predicts networks that it was not made from."""

    table: Path
    notes: tuple[str, ...]
    networks: tuple[CheckedNetwork, ...]

    @property
    def mean_error(self) -> float:
        """Mean absolute error."""
        return float(np.mean([abs(network.error) for network in self.networks]))

    @property
    def worst_error(self) -> float:
        """Largest absolute error."""
        return max(abs(network.error) for network in self.networks)

    @property
    def bias(self) -> float:
        """Mean signed error: what a better calibration would take away."""
        return float(np.mean([network.error for network in self.networks]))

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of predicted and measured latency; None where all are alike."""
        return _spearman([(network.predicted_ms, network.measured_ms) for network in self.networks])

    @property
    def repeatability(self) -> float | None:
        """Spearman's, of one half of the visits and the other: what noise leaves to any prediction."""
        return _spearman([network.halves_ms for network in self.networks])


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    one, other = zip(*pairs, strict=True)
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(spearmanr(one, other).statistic)


def draw_ratios(choices: Mapping[str, Sequence[int]], random: np.random.Generator) -> dict[str, int]:
    """Draw a network: every group keeps a share of its channels uniform in 0.2..1, to the nearest choice."""
    policy = {}
    for group, counts in choices.items():
        wanted = random.uniform(LOWEST_RATIO, 1) * counts[-1]
        policy[group] = int(min(counts, key=lambda count: abs(count - wanted)))
    return policy


def check_table(
    device: Device,
    subject: Traced,
    model_name: str,
    table: Path | None,
    networks: int,
    seed: int,
    export_all: bool,
    progress: Progress,
) -> TableCheck:
    """Measure random pruned networks beside their prediction; what the table lacks is measured first.

    The first network is exported as ``amc-hw export`` does it, and its operators are held against those of the
    file that stands in for it: written from the original's graph, in milliseconds, with random weights.

    Args:
        device: where to measure.
        subject: the traced network.
        model_name: its name for people.
        table: the table's file, or None for the device's default one.
        networks: how many to draw.
        seed: decides which; the table's own networks are drawn from other streams.
        export_all: export every network instead (some seconds each).
        progress: called with (done, total, text).

    Raises:
        DeviceError: a measurement failed, or the device is not in reach.
        UnsupportedModelError: the exported network has other operators than the written file.
    """
    measured, path, template = profile(device, subject, model_name, table, seed, progress)
    predictor, random = Predictor(measured), np.random.default_rng([seed, networks, 3])
    policies = [draw_ratios(subject.choices, random) for _ in range(networks)]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for index, policy in enumerate(policies):
            progress(index, networks, "writing networks")
            file = Path(folder) / f"{index}.{device.format}"
            if index == 0 or export_all:
                _export(device, subject, template, policy, file)
            if not export_all:
                write_bytes(file, template.file(policy, random))
            files.append(file)
        predicted = [predictor.network_ms(template.operators(policy)) for policy in policies]
        with measuring(device):
            means = _interleaved(device, files, predicted, progress)
    return TableCheck(
        path,
        tuple(measured.notes),
        tuple(
            CheckedNetwork(
                channels=dict(policy),
                predicted_ms=predicted_ms,
                measured_ms=float(np.median(visits)),
                halves_ms=(float(np.median(visits[::2])), float(np.median(visits[1::2]))),
                spread=spread(visits),
            )
            for policy, predicted_ms, visits in zip(policies, predicted, means, strict=True)
        ),
    )


def _export(device: Device, subject: Traced, template: GraphTemplate, policy: Policy, file: Path) -> None:
    """Export a pruned network, and hold its operators against the template's."""
    kept = {group: range(channels) for group, channels in policy.items()}
    export(shrink(subject.model, subject.network, kept), example_for(device, subject), file)
    if find_format(device.format).read(file.read_bytes()).operators() != template.operators(policy):
        raise UnsupportedModelError(
            "the exported network has other operators than its prediction is made of: this is a fault of amc-hw."
        )


def _interleaved(
    device: Device, files: Sequence[Path], predicted: Sequence[float], progress: Progress
) -> list[list[float]]:
    """Time all files in turns, a short visit each, so that a slow moment hits few of them; means in milliseconds."""
    means: list[list[float]] = [[] for _ in files]
    total = max(LEAST_VISITS, effort_of(device).visits) * len(files)
    for step in range(total):
        index = step % len(files)
        progress(step, total, "measuring networks")
        means[index].append(visit_ms(device, files[index], predicted[index]))
    return means
