"""What XNNPACK runs of a program is more where some calls are written in another way; they compute the same."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.fx import GraphModule, Node

_MEAN = torch.ops.aten.mean.dim


def with_pools_for_means(graph: GraphModule) -> GraphModule:
    """Write means over all of a map (N, C, H, W), in place, as pooling and a reshape: XNNPACK keeps all axes."""
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target is _MEAN and _is_of_maps(node):
            with graph.graph.inserting_before(node):
                pooled = graph.graph.call_function(_MEAN, (node.args[0], [2, 3], True))
                flat = graph.graph.call_function(torch.ops.aten.flatten.using_ints, (pooled, 1))
            pooled.meta["val"] = node.meta["val"][:, :, None, None]  # quantizers look at it
            flat.meta = dict(node.meta)
            node.replace_all_uses_with(flat)
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _is_of_maps(node: Node) -> bool:
    images: Any = node.args[0]
    axes: Any = node.args[1]
    keeps = node.args[2:3] == (True,) or node.kwargs.get("keepdim", False)
    of_maps = images.meta["val"].ndim == 4 and bool(axes) and {axis % 4 for axis in axes} == {2, 3}
    return of_maps and not keeps and not node.kwargs.get("dtype")


def with_own_parameters(graph: GraphModule) -> GraphModule:
    """Give every use of a parameter, in place, one of its own: of a shared one the quantizer leaves uses in float.

    Buffers, which no layer multiplies by, stay shared.
    """
    parameters = dict(graph.named_parameters())
    for node in list(graph.graph.nodes):
        if node.op != "get_attr" or str(node.target) not in parameters:
            continue
        for number, user in enumerate(list(node.users)[1:], 1):
            with graph.graph.inserting_before(user):
                own = graph.graph.create_node("get_attr", f"{str(node.target).replace('.', '_')}_{number}")
            own.meta = dict(node.meta)
            setattr(graph, str(own.target), copy.deepcopy(parameters[str(node.target)]))
            user.replace_input_with(node, own)
    graph.recompile()
    return graph
