"""From a traced network to the operators that a device will run, as functions of the channel counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.graph import Graph, GraphTemplate
from amc_hw.formats.registry import Format
from amc_hw.policy import Dimension, Policy
from amc_hw.pruning.surgery import shrink
from amc_hw.trace.groups import Network

ATTEMPTS = 200
MOST_VARIANTS = 3


def lower(model: nn.Module, network: Network, example_input: Tensor, file_format: Format) -> GraphTemplate:
    """Convert the original and one pruned variant, and recognise what changed between the two.

    Args:
        model: the network; it is not changed.
        network: its trace.
        example_input: (N, C, H, W); N becomes the graph's batch size.
        file_format: what the device runs.

    Raises:
        UnsupportedModelError: the converter refused the network, or its operators change with the channels.
    """

    def graph(converted: nn.Module) -> Graph:
        return file_format.read(file_format.convert(converted, example_input))

    dimensions, variants = _sizes(network), []
    for policy in telling_policies(network.original, dimensions):
        kept = {group: range(channels) for group, channels in policy.items()}
        variants.append((graph(shrink(model, network, kept)), policy))
    blocks = {block.group: block.inside for block in network.blocks}
    return GraphTemplate(graph(model), network.original, variants, dimensions, blocks)


def _sizes(network: Network) -> list[Dimension]:
    """Every size that follows the channel counts: of the groups, and of sums of groups behind concatenations."""
    sizes = dict.fromkeys(Dimension(0, (group.name,), (1,)) for group in network.groups)
    for layer in network.layers:
        for dimension in (layer.c_in, layer.c_out):
            if dimension.groups:
                sizes[Dimension(dimension.constant, dimension.groups, dimension.widths)] = None
    return list(sizes)


def telling_policies(original: Policy, dimensions: Sequence[Dimension]) -> list[dict[str, int]]:
    """Draw as few policies as tell all changing sizes apart: one mostly, two where many groups are narrow.

    Raises:
        UnsupportedModelError: even several policies leave two sizes alike.
    """
    random = np.random.default_rng(0)
    for count in range(1, MOST_VARIANTS + 1):
        for _ in range(ATTEMPTS):
            policies = [_draw(original, random) for _ in range(count)]
            seen = {
                (dimension.at(original), *(dimension.at(policy) for policy in policies)) for dimension in dimensions
            }
            if len(seen) == len(dimensions):
                return policies
    raise UnsupportedModelError(
        "the network's channel counts cannot be told apart in its exported graph; "
        "layers of less than 8 channels leave too few of them."
    )


def _draw(original: Policy, random: np.random.Generator) -> dict[str, int]:
    """Draw channel counts that repeat as little as possible among groups of one width."""
    policy: dict[str, int] = {}
    for width in dict.fromkeys(original.values()):
        groups = [group for group, channels in original.items() if channels == width]
        counts = np.arange(max(1, width // 4), max(2, width))
        drawn = np.concatenate([random.permutation(counts) for _ in range(-(-len(groups) // len(counts)))])
        policy.update(zip(groups, map(int, drawn), strict=False))
    return {group: policy[group] for group in original}
