"""The op profile as TFLite's StatsCalculator computes and prints it: text table, csv and proto."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Stat:
    """TFLite's `Stat`: numbers are kept whole, the average is not."""

    values: list[int] = field(default_factory=list)

    def average(self) -> float:
        return sum(self.values) / len(self.values) if self.values else 0

    def deviation(self) -> int:
        average = self.average()
        return int((sum(value * value for value in self.values) / len(self.values) - average * average) ** 0.5)

    def percentile(self, percent: int) -> int:
        return sorted(self.values)[len(self.values) * percent // 100] if self.values else 0

    def text(self, percentiles: bool = False) -> str:
        """`count=3 first=... std=...`, or a short form where all are the same."""
        values = self.values
        if not values:
            text = "count=0"
        elif min(values) == max(values):
            text = f"count={len(values)} curr={values[-1]}" + "(all same)" * (len(values) > 1)
        else:
            text = (
                f"count={len(values)} first={values[0]} curr={values[-1]} min={min(values)} "
                f"max={max(values)} avg={self.average():g} std={self.deviation()}"
            )
        if percentiles:
            text += "".join(f" {name}={self.percentile(p)}" for name, p in (("p5", 5), ("median", 50), ("p95", 95)))
        return text


@dataclass
class Operator:
    """One row: an operator or a delegate's kernel."""

    kind: str
    name: str
    order: int
    elapsed_us: Stat = field(default_factory=Stat)


class Profile:
    """Times of the operators over several runs; as in TFLite, rows of one name are one row."""

    def __init__(self) -> None:
        self.operators: dict[str, Operator] = {}
        self.totals = Stat()

    def add_run(self, events: list[tuple[str, str, int]]) -> None:
        """Add one run's events: type, name, microseconds."""
        for order, (kind, name, elapsed_us) in enumerate(events):
            self.operators.setdefault(name, Operator(kind, name, order)).elapsed_us.values.append(elapsed_us)
        self.totals.values.append(sum(elapsed_us for _, _, elapsed_us in events))

    def ordered(self) -> list[Operator]:
        return sorted(self.operators.values(), key=lambda operator: operator.order)

    def text(self, csv: bool) -> str:
        """Everything that the tool prints about these runs."""
        by_time = sorted(self.operators.values(), key=lambda operator: -operator.elapsed_us.average())
        return (
            self._table("Run Order", self.ordered(), csv)
            + self._table("Top by Computation Time", by_time[:10], csv)
            + self._by_type(csv)
            + f"Timings (microseconds): {self.totals.text()}\nMemory (bytes): count=0\n"
            + f"{len(self.operators)} nodes observed\n\n"
        )

    def _table(self, title: str, operators: list[Operator], csv: bool) -> str:
        line = "=" * 30
        lines = [f"{line} {title} {line}"]
        if csv:
            lines.append("node type, first, avg_ms, %, cdf%, mem KB, times called, name")
        else:
            titles = (
                "[node type]",
                "[first]",
                "[avg ms]",
                "[%]",
                "[cdf%]",
                "[mem KB]",
                "[times called]",
                "[Name]",
            )
            lines.append(_row(*titles))
        total, cumulated = sum(self.totals.values) or 1, 0
        for operator in operators:
            times = operator.elapsed_us
            cumulated += sum(times.values)
            numbers = [times.values[0] / 1000, times.average() / 1000]
            shares = [100 * sum(times.values) / total, 100 * cumulated / total]
            called = str(len(times.values) // len(self.totals.values))
            if csv:
                texts = [f"{number:g}" for number in numbers] + [f"{share:g}%" for share in shares] + ["0", called]
                lines.append(", ".join([operator.kind, *texts, operator.name.replace(",", "\t")]))
            else:
                texts = [f"{number:.3f}" for number in numbers] + [f"{share:.3f}%" for share in shares]
                lines.append(_row(operator.kind, *texts, "0.000", called, operator.name))
        return "\n".join(lines) + "\n\n"

    def _by_type(self, csv: bool) -> str:
        line, runs = "=" * 30, len(self.totals.values)
        lines = [f"Number of nodes executed: {len(self.operators)}", f"{line} Summary by node type {line}"]
        names = ("[Node type]", "[count]", "[avg ms]", "[avg %]", "[cdf %]", "[mem KB]", "[times called]")
        lines.append("node type, count, avg_ms, avg %, cdf %, mem KB, times called" if csv else "\t" + "\t".join(names))
        kinds: dict[str, list[Operator]] = {}
        for operator in self.ordered():
            kinds.setdefault(operator.kind, []).append(operator)
        times = {kind: sum(sum(o.elapsed_us.values) // runs for o in group) for kind, group in kinds.items()}
        all_us, cumulated = sum(times.values()) or 1, 0.0
        for kind, elapsed_us in sorted(times.items(), key=lambda item: -item[1]):
            share = 100 * elapsed_us / all_us
            cumulated += share
            called = sum(len(operator.elapsed_us.values) // runs for operator in kinds[kind])
            texts = [str(len(kinds[kind])), f"{elapsed_us / 1000:.3f}", f"{share:.3f}%", f"{cumulated:.3f}%"]
            separator = ", " if csv else "\t"
            lines.append("\t" * (not csv) + separator.join([kind, *texts, "0.000", str(called)]))
        return "\n".join(lines) + "\n\n"

    def fill(self, message: object) -> None:
        """Write the rows into a `ModelProfilingData` message."""
        graph = message.subgraph_profiles.add(subgraph_index=0)  # type: ignore[attr-defined]
        for operator in self.ordered():
            values = operator.elapsed_us.values
            entry = graph.per_op_profiles.add(node_type=operator.kind, name=operator.name, run_order=operator.order)
            entry.times_called = len(values) // len(self.totals.values)
            times = entry.inference_microseconds
            times.first, times.last, times.sum, times.count = values[0], values[-1], sum(values), len(values)
            times.min, times.max, times.avg = min(values), max(values), int(operator.elapsed_us.average())
            times.stddev = operator.elapsed_us.deviation()


def _row(kind: str, *fields: str) -> str:
    return f"\t{kind:>24}\t" + "\t".join(f"{text:>9}" for text in fields[:-1]) + f"\t{fields[-1]}"
