"""The latency of a network as a cost that a search can bound: one term for each operator of its exported graph."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from amc_hw.budget.cost import Cost, Term
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor, structure_of

GRID_LIMIT = 10_000
"""An operator behind a long concatenation has too many combinations of channels to predict them all at once."""


def latency_cost(template: GraphTemplate, predictor: Predictor, choices: Mapping[str, Sequence[int]]) -> Cost:
    """Return the predicted latency of a network as a cost in milliseconds, one term for each operator.

    Args:
        template: the network's operators as functions of the policy.
        predictor: the table.
        choices: the channel counts of every group, ascending, the original's last; everything that they can
            cost is predicted at once here, so that a search only looks it up.

    Raises:
        TableError: the table has no entry of an operator of the network.
    """
    original = {group: counts[-1] for group, counts in choices.items()}
    operators = template.operators(original)
    calibration = predictor.calibration(structure_of(operators))
    constant, terms = calibration.start_ms, []
    overhead_ms = calibration.overhead_ms(sum(ms > 0 for ms in predictor.operators_ms(operators)))

    def calibrated(operator_ms: float) -> float:
        return calibration.slope * operator_ms - overhead_ms if operator_ms else 0.0  # of what runs in another's kernel

    for index, operator in enumerate(operators):
        groups = template.groups_of(index)
        block = template.block_of(index)
        if block is not None:
            terms.append(_unless_out(block, _term(template, predictor, index, groups, choices, calibrated)))
        elif groups:
            terms.append(_term(template, predictor, index, groups, choices, calibrated))
        else:
            constant += calibrated(predictor.operators_ms([operator])[0])
    return Cost("latency_ms", terms, constant)


def _unless_out(block: str, term: Term) -> Term:
    """Return a term that is 0 where the block of that group is left out."""
    groups = tuple(dict.fromkeys((*term.groups, block)))
    at, own = groups.index(block), len(term.groups)
    return Term(groups, lambda channels: term.value(channels[:own]) if channels[at] else 0.0)


def _term(
    template: GraphTemplate,
    predictor: Predictor,
    index: int,
    groups: tuple[str, ...],
    choices: Mapping[str, Sequence[int]],
    calibrated: Callable[[float], float],
) -> Term:
    """One operator's share of the latency; the channel counts of its groups decide it."""

    def operator_at(channels: tuple[int, ...]) -> Operator:
        return template.operator(index, dict(zip(groups, channels, strict=True)))

    known: dict[tuple[int, ...], float] = {}
    if math.prod(len(choices[group]) for group in groups) <= GRID_LIMIT:
        grid = list(itertools.product(*(choices[group] for group in groups)))
        latencies = predictor.operators_ms([operator_at(channels) for channels in grid])
        known = dict(zip(grid, latencies, strict=True))

    def value(channels: tuple[int, ...]) -> float:
        if channels not in known:
            known[channels] = predictor.operators_ms([operator_at(channels)])[0]
        return calibrated(known[channels])

    return Term(groups, value)
