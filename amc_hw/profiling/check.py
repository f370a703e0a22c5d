"""Holds a latency table against its device: random networks are predicted, built, measured and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from amc_hw.devices.base import Device
from amc_hw.devices.turns import measuring
from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import find_format
from amc_hw.latency.prediction import Predictor, structure_of
from amc_hw.latency.table import LatencyTable
from amc_hw.latency.trust import of_transfer
from amc_hw.policy import Policy
from amc_hw.profiling.clock import in_peace, spread, visit_ms
from amc_hw.profiling.deployed import DeployedFiles, content_for, example_for
from amc_hw.profiling.latency_cost import latency_cost
from amc_hw.profiling.plan import rounds_of_visits
from amc_hw.profiling.profile import profile
from amc_hw.profiling.speed import LEAST_VISITS, measured_then
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.runs.files import write_bytes
from amc_hw.runs.progress import Progress
from amc_hw.tracing.traced import TracedModel

LOWEST_RATIO = 0.2
LEFT_OUT = 0.2
"""Of the blocks that a search may leave out, in every network but the first."""


@dataclass(frozen=True)
class CheckedNetwork:
    """One network; ``measured_ms`` is the median of its visits, ``halves_ms`` that of every second one."""

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
    """How well a table predicts networks that it was not made from.

    Attributes:
        table: its file.
        notes: what it says of itself.
        networks: what was measured.
        drift: how much longer the original takes now than when the table was made, a fraction of then; None where
            the table was not calibrated with it.
    """

    table: Path
    notes: tuple[str, ...]
    networks: tuple[CheckedNetwork, ...]
    drift: float | None

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

    def at_speed_of_table(self) -> TableCheck | None:
        """Return the same with the drift divided out: the table's own errors, on a machine that keeps its speed."""
        if self.drift is None:
            return None
        slower = 1 + self.drift
        networks = (replace(network, measured_ms=network.measured_ms / slower) for network in self.networks)
        return replace(self, networks=tuple(networks), drift=0.0)


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


def leave_out_blocks(policy: Policy, traced: TracedModel, random: np.random.Generator) -> dict[str, int]:
    """Leave out some of the blocks that can be: a search does, and must not find what nobody has checked."""
    gone = [block.group for block in traced.network.blocks if random.random() < LEFT_OUT]
    return {**policy, **dict.fromkeys(gone, 0)}


def check_table(
    device: Device,
    traced: TracedModel,
    table: Path | None,
    networks: int,
    seed: int,
    progress: Progress,
    *,
    export_all: bool = False,
) -> TableCheck:
    """Measure random pruned networks beside their prediction; what the table lacks is measured first.

    The first network is exported as ``amc-hw export`` does it, and its operators are held against those of the
    file that stands in for it: written from the original's graph, in milliseconds, with random weights. The others
    leave out some of the blocks that a search may leave out. The original is measured among them, to tell a machine
    that is faster or slower by now from a wrong table.

    Args:
        device: where to measure.
        traced: the network.
        table: the table's file, or None for the device's default one.
        networks: how many to draw.
        seed: decides which; the table's own networks are drawn from other streams.
        progress: is told how far the work is.
        export_all: export every network instead (some seconds each).

    Raises:
        DeviceError: a measurement failed, or the device is not in reach.
        UnsupportedModelError: the exported network has other operators than the written file.
    """
    measured, path, template = profile(device, traced, table, seed, progress)
    predictor, random = Predictor(measured), np.random.default_rng([seed, networks, 3])
    first, *others = [draw_ratios(traced.choices, random) for _ in range(networks)]
    policies = [first, *(leave_out_blocks(policy, traced, random) for policy in others)]
    original = template.operators(traced.network.original)
    cost = latency_cost(template, predictor, traced.choices)
    predicted = [cost(policy) for policy in policies]
    written = DeployedFiles(device, traced, device.precision, example_for(device, traced))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{index}.{device.format}" for index in range(networks + 1)]
        for index, policy in enumerate(policies):
            progress("writing networks", index, networks)
            if index == 0 or export_all:
                _export(device, traced, template, policy, files[index])
            if export_all:
                continue
            if template.left_out(policy):
                write_bytes(files[index], written(_shrunk(traced, policy)))
            else:
                write_bytes(files[index], template.file(policy, random))
        write_bytes(files[-1], template.file(traced.network.original, random))
        with measuring(device):
            about = [*predicted, predictor.network_ms(original)]
            *visits, of_original = _interleaved(device, files, about, progress)
    checked = [_checked(*each) for each in zip(policies, predicted, visits, strict=True)]
    drift = _drift(measured, structure_of(original), traced.name, float(np.median(of_original)))
    return TableCheck(path, (*of_transfer(measured), *measured.notes), tuple(checked), drift)


def _checked(policy: Policy, predicted_ms: float, ms: NDArray[np.float64]) -> CheckedNetwork:
    """Return what was measured of a network, beside its prediction, by the means of its visits."""
    halves = float(np.median(ms[::2])), float(np.median(ms[1::2]))
    return CheckedNetwork(dict(policy), predicted_ms, float(np.median(ms)), halves, spread(ms))


def _drift(table: LatencyTable, structure: str, model_name: str, now_ms: float) -> float | None:
    """Compare what the original takes now with what it took when the table was calibrated with it."""
    then_ms = measured_then(table, structure, model_name)
    return None if then_ms is None else now_ms / then_ms - 1


def _export(device: Device, traced: TracedModel, template: GraphTemplate, policy: Policy, file: Path) -> None:
    """Export a pruned network, and hold its operators against the template's: with all their sizes, if it is whole."""
    read = find_format(device.format).read
    write_bytes(file, content_for(device, traced, _shrunk(traced, policy)))
    exported, whole = read(file.read_bytes()), not template.left_out(policy)
    if exported.operators() != template.operators(policy) or (
        whole and exported.uses() != read(template.file(policy, np.random.default_rng(0))).uses()
    ):
        raise UnsupportedModelError(
            "the exported network has other operators than its prediction is made of: this is a fault of amc-hw."
        )


def _shrunk(traced: TracedModel, policy: Policy) -> nn.Module:
    return shrink(traced.model, traced.network, first_channels(policy))


def _interleaved(
    device: Device, files: Sequence[Path], about_ms: Sequence[float], progress: Progress
) -> NDArray[np.float64]:
    """Time all files in turns, the original last, a short visit each; means in milliseconds, a row for each file."""
    rounds = max(LEAST_VISITS, 2 * rounds_of_visits(device.effort, about_ms[-1]))
    visits = np.empty((len(files), rounds))
    for step in range(visits.size):
        turn, index = divmod(step, len(files))
        progress("measuring networks", step, visits.size)
        visits[index, turn] = visit_ms(device, files[index], about_ms[index])
    return in_peace(visits)
