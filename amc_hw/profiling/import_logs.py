"""Makes a latency table from logs of benchmark_model and the networks that were run: no phone needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from amc_hw import __version__
from amc_hw.devices.android.benchmark_log import BenchmarkLog
from amc_hw.devices.android.log_claims import refuse_hidden, refuse_joined
from amc_hw.errors import TableError
from amc_hw.formats.align import align, prepares_next
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor, fit_calibration, structure_of
from amc_hw.latency.table import CalibrationNetwork, Entry, LatencyTable, PredictionError

METHOD = (
    "operators timed inside running networks by benchmark_model's own profiler; each sample is the mean of one "
    "log's runs, so an entry's spread is between logs"
)
UNSTABLE_SPREAD, RESOLUTION_US = 0.10, 2.0
"""Repeats of one operator that differ by more than this share of their median, and by more than the log's
whole microseconds explain, are marked."""
LEAST_US = 0.5
"""Half the log's resolution stands for an operator whose time it prints as 0."""


@dataclass(frozen=True)
class LoggedNetwork:
    """A network that was run, and the logs of its runs.

    Attributes:
        name: the network's name for people.
        operators: in the order of execution.
        logs: one for each repeat, with its operators' times.
        precision: of the file that was run, None where only its channels are known.
    """

    name: str
    operators: Sequence[Operator]
    logs: Sequence[BenchmarkLog]
    precision: str | None = None

    def times_us(self) -> dict[int, list[float]]:
        """Return every operator's time in each log, by its index; operators that were fused have none.

        Raises:
            TableError: a log has no profile, or is not of this network.
            BenchmarkLogError: a delegate hides its operators, or several of them have one time.
        """
        times: dict[int, list[float]] = {}
        for log in self.logs:
            if not log.operators:
                raise TableError(
                    f"a log of {self.name} has no operator times; run benchmark_model with --enable_op_profiling=true, "
                    "and name its profile= where they went into a file of their own."
                )
            refuse_hidden(log.operators, self.name)
            refuse_joined(log.operators, self.name)
            own: dict[int, float] = {}
            owners = align(self.operators, [operator.type for operator in log.operators])
            for kernel, owner in zip(log.operators, owners, strict=True):
                if owner is not None:
                    own[owner] = own.get(owner, 0.0) + kernel.avg_us
            lost = [o for index, o in enumerate(self.operators) if o.fan_in and index not in own]
            if lost or None in owners:
                what = f"'{lost[0].family}' has no time in it" if lost else "its first operator is another"
                raise TableError(f"a log of {self.name} is not of that network: {what}; name the model= that was run.")
            for index, time in own.items():
                times.setdefault(index, []).append(max(time, LEAST_US))
        return times

    def strangers(self) -> list[str]:
        """Return a sentence for each kind of kernel that fits no operator, whose time `times_us` counts elsewhere."""
        found: dict[str, None] = {}
        for log in self.logs:
            kernels = [operator.type for operator in log.operators]
            owners = align(self.operators, kernels)
            # Owners only ever grow; a kernel that fits none has that of the kernel before it.
            rest = zip(kernels, kernels[1:], owners, owners[1:], strict=False)
            for previous, kernel, before, owner in rest:
                if owner == before and not prepares_next(previous):
                    found[f"the kernel {kernel} fits no operator: its time is counted to the one before it"] = None
        return list(found)

    @property
    def measured_ms(self) -> float:
        """Median over the logs of the mean latency of a run."""
        return float(np.median([log.regular.avg_us for log in self.logs])) / 1e3


def import_logs(networks: Sequence[LoggedNetwork], fingerprint: Fingerprint, source: str) -> LatencyTable:
    """Make a table from logs.

    With two networks or more, each is predicted by a table of the others, and the errors are kept in the table.

    Args:
        networks: what was run, on one device.
        fingerprint: what the measurements belong to.
        source: where the logs are from, for the table's notes.

    Raises:
        TableError: a log is not of its network, or has no operator times.
        DeviceError: a log's operators have names of another network.
    """
    table = _table(networks, fingerprint)
    table.version, table.origins = __version__, [_digest(log) for network in networks for log in network.logs]
    table.notes = [f"imported from {sum(len(n.logs) for n in networks)} logs of benchmark_model: {source}"]
    for network in networks:
        problems = [problem for log in network.logs for problem in log.problems] + network.strangers()
        for problem in dict.fromkeys(problems):
            table.note(f"a log of {network.name}: {problem}")
    if len(networks) > 1:
        left_out = {n.name: _left_out_error(n, [o for o in networks if o is not n], fingerprint) for n in networks}
        sizes = [abs(error) for error in left_out.values()]
        error = PredictionError(networks=len(networks), mean=float(np.mean(sizes)), worst=max(sizes), left_out=left_out)
        table.errors = {network.structure: error for network in table.calibration}
    return table


def _digest(log: BenchmarkLog) -> str:
    return hashlib.sha256(repr((log.regular, log.operators)).encode()).hexdigest()[:12]


def _table(networks: Sequence[LoggedNetwork], fingerprint: Fingerprint) -> LatencyTable:
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    table = LatencyTable(fingerprint=fingerprint, created=created, method=METHOD)
    samples: dict[tuple[str, int, int], list[float]] = {}
    unstable: set[tuple[str, int, int]] = set()
    for network in networks:
        for index, times in network.times_us().items():
            operator = network.operators[index]
            key = (operator.family, operator.c_in, operator.c_out)
            samples.setdefault(key, []).extend(times)
            spread = max(times) - min(times)
            if spread > max(UNSTABLE_SPREAD * float(np.median(times)), RESOLUTION_US):
                unstable.add(key)
    table.entries = [_entry(key, times, key in unstable) for key, times in samples.items()]
    predictor = Predictor(table)
    table.calibration = [
        CalibrationNetwork(
            structure=structure_of(network.operators),
            model=network.name,
            operators_ms=sum(predictor.operators_ms(network.operators)),
            measured_ms=network.measured_ms,
        )
        for network in networks
    ]
    return table


def _entry(key: tuple[str, int, int], times: Sequence[float], unstable: bool) -> Entry:
    """Reduce the times of one operator, each the mean of a log's runs; interruptions are in those already."""
    family, c_in, c_out = key
    return Entry(
        family=family,
        c_in=c_in,
        c_out=c_out,
        count=len(times),
        mean_us=float(np.mean(times)),
        median_us=float(np.median(times)),
        p90_us=float(np.percentile(times, 90)),
        std_us=float(np.std(times)),
        unstable=unstable,
    )


def _left_out_error(left_out: LoggedNetwork, others: Sequence[LoggedNetwork], fingerprint: Fingerprint) -> float:
    """Return the signed error of the prediction of a network by the logs of others, a fraction."""
    table = _table(others, fingerprint)
    predicted = fit_calibration(table.calibration)(sum(Predictor(table).operators_ms(left_out.operators)))
    return predicted / left_out.measured_ms - 1
