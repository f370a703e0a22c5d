"""Further devices of a run: each has a latency budget of its own, and a folder in the run's.

The first device is the run's own, as where there is one only; what it takes decides the states of an episode. Bounds,
shortlist, measurements and the last benchmark hold the budgets of all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from amc_hw.budget.bounds import Limit
from amc_hw.budget.budget import Budget
from amc_hw.budget.cost import Cost
from amc_hw.budget.network_costs import network_costs
from amc_hw.devices.base import Device
from amc_hw.devices.turns import device_in_turn
from amc_hw.errors import UsageError
from amc_hw.formats.registry import find_format
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.pipeline.originals import export_originals, with_float_original
from amc_hw.pipeline.present_speed import at_present_speed, is_in_ms
from amc_hw.pipeline.settings import other_budgets
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.profiling.deployed import template_for
from amc_hw.profiling.doubts import doubts_of_table
from amc_hw.profiling.latency_cost import latency_cost
from amc_hw.profiling.profile import require_tables, run_cost
from amc_hw.profiling.speed import speed_of
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class OtherDevice:
    """One further device on which the network must be fast enough.

    Attributes:
        folder: its table, its files and its benchmark.
        device: where to measure, or a table.
        budget: of its latency.
    """

    folder: RunFolder
    device: Device
    budget: Budget


@contextmanager
def opened_others(
    run: RunFolder, config: RunConfig, first: Device, progress: Progress
) -> Iterator[tuple[tuple[OtherDevice, ...], Progress]]:
    """Open the further devices of a run, each in its turn; on the machine of the first one they take turns with it.

    Raises:
        UsageError: the first device is out of reach and another is not, or one is out of reach and its budget is a
            share of what nobody has measured there.
        AmcHwError: see `device_in_turn` and `require_tables`.
    """
    with ExitStack() as opened:
        others, known = [], [first]
        for number, (name, budget) in enumerate(other_budgets(config).items(), start=2):
            device, in_turn = opened.enter_context(device_in_turn(name, progress, None, config.known_precision))
            if there := _on_its_machine(device, known):  # two turns of one program would wait for each other
                if device.turn is not None:
                    device.turn.leave()
                device.turn = there[0].turn
            else:
                progress = in_turn
            _require_another(device, there)
            known.append(device)
            _require_known(device, first, budget)
            find_format(device.format).with_io(config.known_precision, config.io)
            require_tables(device, None, run.on_device(number))
            others.append(OtherDevice(run.on_device(number), device, budget))
        yield tuple(others), progress


@dataclass(frozen=True)
class OtherLimits:
    """What the tables of further devices say.

    Attributes:
        limits: their latency budgets.
        error: the largest of the tables' mean errors, a fraction.
        doubts: why not to rely on the tables, each sentence with its device's name before it.
    """

    limits: tuple[Limit, ...] = ()
    error: float = 0.0
    doubts: tuple[str, ...] = ()


def other_limits(
    run: RunFolder, others: tuple[OtherDevice, ...], trained: TrainedModel, seed: int, progress: Progress
) -> OtherLimits:
    """Measure what the tables of further devices lack, and return their latency budgets as limits.

    A budget that the original keeps already is a limit like others: it is one device of several.
    """
    limits, error, doubts = list[Limit](), 0.0, list[str]()
    original = trained.network.original
    for other in others:
        folder, device, budget = other.folder, other.device, other.budget
        folder.path.mkdir(exist_ok=True)
        latency, template, off = run_cost(folder, device, trained, None, seed, progress)
        latency = at_present_speed(latency, budget, speed_of(folder, device, trained, template, progress))
        doubtful = doubts_of_table(folder, device, trained, template, again=run, in_ms=is_in_ms(budget))
        told = named(device.name, doubtful)
        for sentence in told:
            _LOG.warning("%s", sentence)
        doubts += told
        export_originals(folder, trained, device, progress)
        costs = network_costs(trained.network, latency, folder.original(device.format).stat().st_size)
        costs = with_float_original(folder, trained, device, costs, [budget], progress)
        most = budget.allowed(costs.whole("latency_ms", original, budget.of))
        limits.append(Limit(latency.of_device(device.name), most))
        error = max(error, off)
    return OtherLimits(tuple(limits), error, tuple(doubts))


def named(device: str, sentences: Iterable[str]) -> list[str]:
    """Return what is said of one of several devices, with its name before each sentence."""
    return [f"{device}: {sentence}" for sentence in sentences]


def predicted_elsewhere(other: OtherDevice, trained: TrainedModel) -> Cost:
    """Return the latency on a further device by the table in its folder."""
    template = template_for(other.device, trained)
    latency = latency_cost(template, Predictor(load_table(other.folder.table)), trained.choices)
    return at_present_speed(latency, other.budget, other.folder.speed.find())


def not_proved(others: tuple[OtherDevice, ...]) -> list[str]:
    """Return what to know of devices that nothing can be measured on, a sentence each."""
    return [
        f"nothing proves the latency on {other.device.name}, which is not in reach: its table predicts it."
        for other in others
        if not other.device.in_reach
    ]


def _on_its_machine(device: Device, known: Sequence[Device]) -> list[Device]:
    """Return the devices on the same machine, which take turns with this one."""
    turn = device.turn
    return [each for each in known if turn and each.turn and each.turn.machine == turn.machine]


def _require_another(device: Device, there: Sequence[Device]) -> None:
    """Raise UsageError where a device is one of those on its machine, under another name."""
    for each in there:
        if each.fingerprint() == device.fingerprint():
            raise UsageError(
                f"'{each.name}' and '{device.name}' are one device under two names; name it once, with the smaller "
                "budget."
            )


def _require_known(device: Device, first: Device, budget: Budget) -> None:
    if device.in_reach and not first.in_reach:
        raise UsageError(
            f"'{first.name}' is not in reach and '{device.name}' is; name one first that can be measured: "
            f"device={device.name}"
        )
    if not device.in_reach and device.precision != "fp32" and budget.ratio is not None and budget.of == "fp32":
        raise UsageError(
            f"'{device.name}' is not in reach, so what the original takes in fp32 is not known there; give its latency "
            f"budget in milliseconds, or as a share of the original in {device.precision}."
        )
