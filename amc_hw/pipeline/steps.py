"""The steps of a search: a decision for each channel group, and what the agent sees of it."""

from __future__ import annotations

from amc_hw.policy import Policy
from amc_hw.search.space import Step
from amc_hw.tracing.network import Layer
from amc_hw.tracing.traced import TracedModel


def search_steps(trained: TracedModel) -> list[Step]:
    """Return one step for each group, with the features of the first layer that the group feeds.

    They are the paper's (arXiv:1802.03494, section 3.1): output and input channels, height and width of the
    output, stride and kernel size. A group that feeds no convolution or linear layer is described by the
    layer that makes it.
    """
    steps = []
    for group in trained.network.groups:
        fed = [layer for layer in trained.network.layers if group.name in layer.c_in.groups and not layer.depthwise]
        made = [layer for layer in trained.network.layers if group.name in layer.c_out.groups]
        features = layer_features((fed or made)[0], trained.network.original)
        steps.append(Step(group.name, trained.decisions[group.name], features))
    return steps


def layer_features(layer: Layer, original: Policy) -> tuple[float, ...]:
    """Return the paper's features of a layer: n, c, h, w, stride and kernel size k."""
    c_out, c_in = layer.c_out.at(original), layer.c_in.at(original)
    return tuple(map(float, (c_out, c_in, layer.out_h, layer.out_w, layer.stride[0], layer.kernel[0])))
