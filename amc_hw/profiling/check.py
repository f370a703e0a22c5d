"""Holds a latency table against its device: random networks are predicted, built, measured and compared."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from amc_hw import __version__
from amc_hw.devices.base import Device
from amc_hw.devices.turns import measuring
from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import find_format
from amc_hw.latency.prediction import Predictor, structure_of
from amc_hw.latency.table import LatencyTable, load_table
from amc_hw.latency.trust import of_transfer
from amc_hw.policy import Policy
from amc_hw.profiling.clock import in_peace, spread, visit_ms
from amc_hw.profiling.deployed import content_for
from amc_hw.profiling.plan import rounds_of_visits
from amc_hw.profiling.profile import default_table, profile
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.runs.files import write_bytes
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.tracing.traced import TracedModel

LEAST_VISITS = 3
SPEED_CHANGE, TRIES = 0.05, 3
"""A change of the original's time that makes a table doubtful, once it shows in each of so many tries."""
LOWEST_RATIO = 0.2


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
    file that stands in for it: written from the original's graph, in milliseconds, with random weights. The original
    is measured among them, to tell a machine that is faster or slower by now from a wrong table.

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
    policies = [draw_ratios(traced.choices, random) for _ in range(networks)]
    original = template.operators(traced.network.original)
    predicted = [predictor.network_ms(template.operators(policy)) for policy in policies]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{index}.{device.format}" for index in range(networks + 1)]
        for index, policy in enumerate(policies):
            progress("writing networks", index, networks)
            if index == 0 or export_all:
                _export(device, traced, template, policy, files[index])
            if not export_all:
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


def doubts_of_table(
    device: Device,
    traced: TracedModel,
    template: GraphTemplate,
    run: RunFolder,
    progress: Progress,
    *,
    again: RunFolder | None = None,
) -> list[str]:
    """Say why a run should not rely on a table, before it does: one sentence each, with its cure.

    The original is timed as the table's own measurement of it was, where the device is in reach.

    Args:
        device: where the budget must hold.
        traced: the network.
        template: its operators as functions of the channel counts.
        run: the run folder, or that of one of its devices, which has the table.
        progress: is told how far the work is.
        again: the run folder, where the run is for several devices; one for this device alone takes a table of the
            user's own.
    """
    if not device.in_reach:
        return []
    table, doubts = load_table(run.table), []
    cure = f"to measure anew, end this (Ctrl-C){_anew(device, run, again)}"
    if table.version != __version__:
        maker = f"amc-hw {table.version}" if table.version else "an older version of amc-hw"
        doubts.append(
            f"the latency table was made by {maker} and may be of files that this one writes otherwise; {cure}."
        )
    operators = template.operators(traced.network.original)
    structure = structure_of(operators)
    if all(network.structure != structure for network in table.calibration):
        doubts.append(f"the latency table was measured from other files, none with the operators of this one; {cure}.")
    then_ms = _measured_then(table, structure, traced.name)
    due_ms = then_ms or Predictor(table).network_ms(operators)
    content = template.file(traced.network.original, np.random.default_rng(0))
    now_ms = _time_now(device, content, due_ms, progress)
    change = now_ms / due_ms - 1
    if abs(change) > SPEED_CHANGE:
        source = "when the table was made" if then_ms else "by the table's prediction"
        doubts.append(
            f"the original takes {now_ms:.4g} ms now and {due_ms:.4g} ms {source} ({change:+.1%}), so the table's "
            f"predictions are not of the device's present speed; {cure}."
        )
    return doubts


def _anew(device: Device, run: RunFolder, again: RunFolder | None) -> str:
    """Return how to begin a run again with a table that is measured for it."""
    if again is None:
        return f" and do the same with run={shlex.quote(f'{run}-again')} and table={shlex.quote(f'{run}-again.json')}"
    kept = shlex.quote(str(default_table(device.name, device.fingerprint())))
    return f", delete {kept}, the table of {device.name}, and do the same with run={shlex.quote(f'{again}-again')}"


def _time_now(device: Device, content: bytes, due_ms: float, progress: Progress) -> float:
    """Return the median of visits to a network; of several tries the one nearest to what is due.

    A machine that is slow for a second is looked at again; one that has changed stays changed.
    """
    found: list[float] = []
    with measuring(device), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"original.{device.format}"
        write_bytes(file, content)
        for attempt in range(TRIES):
            progress("timing the original beside the table's measurement of it", attempt, TRIES)
            rounds = max(LEAST_VISITS, rounds_of_visits(device.effort, due_ms))
            found.append(float(np.median([visit_ms(device, file, due_ms) for _ in range(rounds)])))
            if abs(found[-1] / due_ms - 1) <= SPEED_CHANGE:
                break
    return min(found, key=lambda ms: abs(ms - due_ms))


def _measured_then(table: LatencyTable, structure: str, model_name: str) -> float | None:
    """Return what the original took when the table was calibrated with it, None where it was not."""
    for network in table.calibration:
        if network.original and (network.structure, network.model) == (structure, model_name):
            return network.measured_ms
    return None


def _drift(table: LatencyTable, structure: str, model_name: str, now_ms: float) -> float | None:
    """Compare what the original takes now with what it took when the table was calibrated with it."""
    then_ms = _measured_then(table, structure, model_name)
    return None if then_ms is None else now_ms / then_ms - 1


def _export(device: Device, traced: TracedModel, template: GraphTemplate, policy: Policy, file: Path) -> None:
    """Export a pruned network, and hold its operators and all their sizes against the template's."""
    kept, read = first_channels(policy), find_format(device.format).read
    write_bytes(file, content_for(device, traced, shrink(traced.model, traced.network, kept)))
    exported, written = read(file.read_bytes()), read(template.file(policy, np.random.default_rng(0)))
    if exported.operators() != template.operators(policy) or exported.uses() != written.uses():
        raise UnsupportedModelError(
            "the exported network has other operators than its prediction is made of: this is a fault of amc-hw."
        )


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
