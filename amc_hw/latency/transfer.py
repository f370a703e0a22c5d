"""Carries a latency table over to another device by the factors between the two."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from amc_hw.errors import TableError
from amc_hw.latency.deviations import Deviating, surfaces_of
from amc_hw.latency.extrapolation import LEAST_US
from amc_hw.latency.factors import Factors
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor, structure_of
from amc_hw.latency.share import Deviation, Share, Totals
from amc_hw.latency.table import LEARNED, Entry, LatencyTable

METHOD = (
    "transferred: the table of another device, each operator's time multiplied by a factor and with a constant for "
    "each call, which a few networks told that were measured on this one"
)


def require_covered(known: LatencyTable, operators: Sequence[Operator], place: str) -> None:
    """Refuse a table that has not measured all that a network consists of.

    Args:
        known: the other device's table.
        operators: the network's.
        place: the table's file.

    Raises:
        TableError: operators with a filter have shapes that the table never saw.
    """
    families = {operator.family for operator in operators if operator.fan_in}
    shares = {share.family for share in known.totals.shares} if known.totals else set()
    extrapolation = Predictor(known).extrapolation
    missing = sorted(family for family in families - shares if not extrapolation.measured(family))
    if missing:
        raise TableError(
            f"{place} has not measured {len(missing)} of the network's {len(families)} shapes of operators with a "
            f"filter ('{missing[0]}' ...); measure the network on the device of that table first, or where that runs "
            "other operators, this device by itself: amc-hw profile without like="
        )


def carried_entries(known: LatencyTable, factors: Factors) -> list[Entry]:
    """Return a known table's entries of the families that there are factors for, times these, marked as transferred."""
    extrapolation = Predictor(known).extrapolation
    return [
        _carried(entry, family, factors.scale[family], factors.constant_us[family])
        for family in factors.scale
        for entry in {entry.key[1:]: entry for entry in extrapolation.measured(family)}.values()
    ]


def _carried(entry: Entry, family: str, scale: float, constant_us: float) -> Entry:
    mean, median, p90 = (
        max(LEAST_US, scale * us + constant_us) for us in (entry.mean_us, entry.median_us, entry.p90_us)
    )
    return entry.model_copy(
        update={
            "family": family,
            "mean_us": mean,
            "median_us": median,
            "p90_us": p90,
            "std_us": scale * entry.std_us,
            "transferred": True,
        }
    )


def carried_shares(known: LatencyTable, factors: Factors, families: Collection[str]) -> list[Share]:
    """Return the shares of a table that was learned from totals, scaled; constants belong to the calibration there.

    Args:
        known: the table.
        factors: of the families that take time by it; what has no factor takes none here either.
        families: of the network.
    """
    return [
        share.model_copy(update={"us_per": [factors.scale.get(share.family, 0.0) * us for us in share.us_per]})
        for share in (known.totals.shares if known.totals else [])
        if share.family in families
    ]


def carried_deviations(known: LatencyTable, factors: Factors) -> list[Deviation]:
    """Return how the families of a table that was learned from totals deviate from their shares."""
    if known.totals is None or known.totals.deviations is None:
        return []
    surfaces = surfaces_of(known.totals)
    return [
        surface.carried()
        for family, surface in surfaces.items()
        if isinstance(surface, Deviating) and family in factors.scale
    ]


def require_transferred_for(table: LatencyTable, operators: Sequence[Operator], place: str) -> None:
    """Refuse a transferred table for any other network than the one that its error was measured with.

    Raises:
        TableError: the network is another.
    """
    if table.transfer is not None and table.transfer.structure != structure_of(operators):
        raise TableError(
            f"{place} was transferred from another device's table for {table.transfer.model} alone; name another "
            "table=, or measure this network in its place: amc-hw profile without like="
        )


def forget_transferred(table: LatencyTable, method: str, *, totals: bool) -> None:
    """Take out of a table what was transferred; what was measured on the device itself stays.

    Args:
        table: is changed.
        method: how it is measured from now on.
        totals: it is learned from whole networks, so those that were timed are kept.
    """
    kept = table.totals if totals else None
    table.totals = Totals(families=kept.families, networks=kept.networks) if kept else None
    table.entries = [entry for entry in table.entries if not entry.transferred]
    table.calibration, table.errors, table.transfer = [], {}, None
    table.format, table.method = (LEARNED if kept else 2), method
