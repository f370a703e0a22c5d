"""From a traced network to the operators that a device will run, as functions of the channel counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.graph import AmbiguousSizeError, Graph, GraphTemplate, Inside
from amc_hw.formats.registry import Format
from amc_hw.policy import LEAST_CHANNELS, Dimension, Policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.inputs import size_of
from amc_hw.tracing.network import Block, Network

ATTEMPTS = 200
MOST_VARIANTS = 8


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

    def variant(policy: Policy) -> tuple[Graph, Policy]:
        kept = first_channels(policy)
        return graph(shrink(model, network, kept)), policy

    dimensions, random = _sizes(network), np.random.default_rng(0)
    variants = [variant(policy) for policy in telling_policies(network.original, dimensions, random)]
    blocks = {block.group: _inside(block, network, size_of(example_input)) for block in network.blocks}
    original = graph(model)
    while True:
        try:
            return GraphTemplate(original, network.original, variants, dimensions, blocks)
        except AmbiguousSizeError:
            if len(variants) >= MOST_VARIANTS:
                raise
            variants.append(variant(_draw(network.original, len(variants), random)[0]))


def _inside(block: Block, network: Network, images: int) -> Inside:
    """Return what is known of a block; its products are no operators of weights."""
    layers = [layer for layer in network.layers if block.holds(layer.name)]
    return Inside(frozenset(block.inside), images * sum(layer.macs(network.original) for layer in layers))


def _sizes(network: Network) -> list[Dimension]:
    """Every size that follows the channel counts: of groups, of sums of them behind concatenations, and of products."""
    sizes = [Dimension(0, (group.name,), (1,)) for group in network.groups]
    sizes += [size for layer in network.layers for size in (layer.c_in, layer.c_out)]
    sizes += [size for product in network.products for size in product.shape]
    return list(dict.fromkeys(size for size in (_simple(size, network.original) for size in sizes) if size.groups))


def _simple(size: Dimension, original: Policy) -> Dimension:
    """Write equal sizes alike: every group once and in order, and what never changes as a part of the constant."""
    widths: dict[str, int] = {}
    for group, width in sorted(zip(size.groups, size.widths, strict=True)):
        widths[group] = widths.get(group, 0) + width
    fixed = sum(original[group] * width for group, width in widths.items() if original[group] <= LEAST_CHANNELS)
    changing = {group: width for group, width in widths.items() if original[group] > LEAST_CHANNELS}
    return Dimension(size.constant + fixed, tuple(changing), tuple(changing.values()))


def telling_policies(
    original: Policy, dimensions: Sequence[Dimension], random: np.random.Generator
) -> list[dict[str, int]]:
    """Draw as few policies as tell all changing sizes apart: one mostly, several where many groups are narrow.

    Raises:
        UnsupportedModelError: even several policies leave two sizes alike.
    """
    for count in range(1, MOST_VARIANTS + 1):
        for _ in range(ATTEMPTS):
            policies = _draw(original, count, random)
            seen = {
                (dimension.at(original), *(dimension.at(policy) for policy in policies)) for dimension in dimensions
            }
            if len(seen) == len(dimensions):
                return policies
    raise UnsupportedModelError(
        "the network's channel counts cannot be told apart in its exported graph: too many of its layers have fewer "
        "than 8 channels; keep some of them whole with exclude=."
    )


def _draw(original: Policy, count: int, random: np.random.Generator) -> list[dict[str, int]]:
    """Draw ``count`` policies in which no two groups of one width have the same channels everywhere.

    Every group takes a number of its own, whose digits are its channels in the policies; none stays as it is in all.
    Returns no policy where the width has fewer such numbers than groups.
    """
    policies: list[dict[str, int]] = [dict(original) for _ in range(count)]
    for width in sorted({width for width in original.values() if width > LEAST_CHANNELS}):
        groups = [group for group, channels in original.items() if channels == width]
        counts = range(max(LEAST_CHANNELS, width // 4), width + 1)
        numbers = len(counts) ** count - 1
        if numbers < len(groups):
            return []
        for group, number in zip(groups, random.choice(numbers, len(groups), replace=False), strict=True):
            for policy in policies:
                number, digit = divmod(int(number), len(counts))
                policy[group] = counts[digit]
    return policies
