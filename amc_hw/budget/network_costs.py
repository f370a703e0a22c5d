"""What policies cost: every metric that a budget can be on, as a sum over a network's layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from amc_hw.budget.cost import Cost, Term
from amc_hw.policy import Policy, Precision
from amc_hw.tracing.network import Layer, Network

BYTES_OF_A_FLOAT = 4
STORED: Mapping[Precision, tuple[int, int]] = {
    "fp32": (BYTES_OF_A_FLOAT, BYTES_OF_A_FLOAT),
    "fp16": (2, 2),
    "bf16": (2, 2),
    "int8": (1, 16),
    "int8-dynamic": (1, 16),
    "int16x8": (1, 20),
}
"""Bytes of a weight, and of an output channel with its bias, scale and zero point."""


@dataclass(frozen=True)
class NetworkCosts:
    """What a policy costs: predicted latency, MACs, parameters and bytes of the exported file.

    Attributes:
        of_float: what the original costs in fp32, of the metrics in which that is not what it costs here: shares such
            as 0.5x are of it.
    """

    latency_ms: Cost
    macs: Cost
    params: Cost
    size_bytes: Cost
    of_float: Mapping[str, float] = field(default_factory=dict)

    def whole(self, metric: str, original: Policy, of: Precision = "fp32") -> float:
        """Return what shares of a metric are of: what the original costs in fp32, or in the precision that ships."""
        return self.of_float[metric] if of == "fp32" and metric in self.of_float else self.of(metric)(original)

    def by_metric(self) -> dict[str, Cost]:
        """Return all of them by the names of their metrics."""
        return {metric: self.of(metric) for metric in ("latency_ms", "macs", "params", "size_bytes")}

    def of(self, metric: str) -> Cost:
        """Return the cost of a metric."""
        cost: Cost = getattr(self, metric)
        return cost


def network_costs(network: Network, latency: Cost, file_bytes: int, precision: Precision = "fp32") -> NetworkCosts:
    """Return the costs of a traced network; MACs, parameters and bytes are counted layer by layer.

    Args:
        network: the trace.
        latency: its predicted latency.
        file_bytes: of the exported original; what is no weight or bias of a layer in it stays as it is.
        precision: of the file.
    """
    own = {layer.name: layer for layer in network.layers}.values()  # a layer that is called twice is stored once
    stored = [(layer.policy_groups, _stored(layer, *STORED[precision])) for layer in own]
    terms, constant = _terms(stored, network.original)
    others = file_bytes - sum(count(network.original) for _, count in stored)
    return NetworkCosts(latency, macs_cost(network), params_cost(network), Cost("size_bytes", terms, constant + others))


def macs_cost(network: Network) -> Cost:
    """Return the multiply-accumulates of a traced network as a cost."""
    counted = [(part.policy_groups, part.macs) for part in network.parts]
    terms, constant = _terms(counted, network.original)
    return Cost("macs", terms, constant + network.other_macs)


def params_cost(network: Network) -> Cost:
    """Return the parameters of a traced network as a cost."""
    terms, constant = _terms([(each.groups, each.size) for each in network.parameters], network.original)
    return Cost("params", terms, constant + network.other_params)


def _stored(layer: Layer, of_weight: int, of_channel: int) -> Callable[[Policy], float]:
    """Return the bytes of a layer's weights and of its biases, which batch norms are folded into."""
    return lambda policy: of_weight * layer.weights(policy) + of_channel * layer.biases(policy)


def _terms(
    counted: Sequence[tuple[tuple[str, ...], Callable[[Policy], float]]], original: Policy
) -> tuple[list[Term], float]:
    """Split summands into terms that follow the policy and a constant."""
    terms, constant = [], 0.0
    for groups, count in counted:
        if groups:
            terms.append(Term(groups, _by_position(groups, count)))
        else:
            constant += count(original)
    return terms, constant


def _by_position(groups: tuple[str, ...], count: Callable[[Policy], float]) -> Callable[[tuple[int, ...]], float]:
    return lambda channels: count(dict(zip(groups, channels, strict=True)))
