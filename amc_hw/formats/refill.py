"""A file of a pruned network without the converter: the original's file, other channels, the network's weights.

Converting takes seconds, this takes milliseconds, so that a search can score what it would export. Every file is held
against its network before it is believed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.check import TOLERANCE, output_difference
from amc_hw.formats.graph import Graph, GraphTemplate
from amc_hw.formats.place import Place, find_place
from amc_hw.policy import Policy
from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.pruning.surgery import with_whole_scores
from amc_hw.tracing.kinds import Weighted
from amc_hw.tracing.same import random_like
from amc_hw.tracing.traced import TracedModel


class Refill:
    """Writes float32 files of pruned versions of a network.

    Args:
        template: the network's operators as functions of the policy, lowered to a format of float32 files.
        traced: that network.
        example_input: (N, C, H, W); only its shape counts.
        load: a file of the format to what runs it.

    Raises:
        UnsupportedModelError: the file has a weight that is no weight of the network as it is.
    """

    def __init__(
        self,
        template: GraphTemplate,
        traced: TracedModel,
        example_input: Tensor,
        load: Callable[[bytes], Callable[[NDArray[Any]], NDArray[Any]]],
    ) -> None:
        self._template = template
        self._graph = template.graph
        self._load = load
        self._traced = traced
        self._example = random_like(example_input)
        self._shapes = self._graph.shapes()
        self._places = _places(self._graph, _state(fold_batch_norms(traced.model, self._example)))

    def __call__(self, small: nn.Module, policy: Policy) -> bytes:
        """Return a file.

        Args:
            small: the network, pruned to ``policy``.
            policy: channels of every group.

        Raises:
            UnsupportedModelError: the file would compute something else than the network.
        """
        smaller = fold_batch_norms(small, self._example)
        whole_scores = with_whole_scores(smaller, self._traced.model, self._traced.network, policy)
        # The original's width, by whose root scores are divided, is a constant of some files, and others read it.
        for version in dict.fromkeys((whole_scores, smaller)):
            content = self._filled(_state(version), policy)
            difference = output_difference(smaller, self._load(content), self._example)
            if difference <= TOLERANCE:
                return content
        raise UnsupportedModelError(
            f"the pruned network's file cannot be written without the converter (difference {difference:.1e})."
        )

    def _filled(self, state: Mapping[str, NDArray[Any]], policy: Policy) -> bytes:
        """Return the template's file under a policy, with a network's weights."""
        shapes = self._template.changed_shapes(policy)
        shapes = {tensor: shape for tensor, shape in shapes.items() if 0 not in shape}  # of blocks that are left out
        left_out = self._template.left_out(policy)
        values: dict[int, NDArray[Any]] = {}
        for tensor, place in self._places.items():
            shape = shapes.get(tensor, self._shapes[tensor])
            if not isinstance(place, Place):
                values[tensor] = np.full(shape, place, np.float32)
            elif place.name in state:
                values[tensor] = _shaped(place.value(state), shape)
        return self._graph.packed(shapes, self._template.changed_integers(policy), values, left_out)


def _shaped(value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if value.size != math.prod(shape):
        raise UnsupportedModelError("two equal weights of the network differ in size when it is pruned.")
    return value.reshape(shape)


def _state(model: nn.Module) -> dict[str, NDArray[Any]]:
    tensors = dict((*model.named_parameters(), *model.named_buffers()))
    for name, norm in model.named_modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None:
            tensors |= {f"{name}.{part}": tensor for part, tensor in _parts_of_norm(norm).items()}
    for name, layer in model.named_modules():
        if isinstance(layer, Weighted) and layer.bias is None:
            outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            tensors[f"{name}.bias"] = torch.zeros(outputs)
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _parts_of_norm(norm: Any) -> dict[str, Tensor]:
    """Return what a file can have in place of a batch norm's weights, where it is not folded: x * scale + shift."""
    deviation = torch.rsqrt(norm.running_var + norm.eps)
    scale = deviation if norm.weight is None else deviation * norm.weight
    shift = -norm.running_mean * scale
    return {"deviation": deviation, "scale": scale, "shift": shift if norm.bias is None else shift + norm.bias}


def _places(graph: Graph, state: Mapping[str, NDArray[Any]]) -> dict[int, Place | float]:
    """Return for every constant of several floating-point numbers where it comes from, or its one value."""
    found: dict[int, Place | float] = {}
    shapes = graph.shapes()
    for index in range(len(graph.kinds)):
        inputs = [int(tensor) for tensor in graph.tensors_of(index)]
        layer = ""
        for tensor in inputs:
            value = graph.constant(tensor) if tensor >= 0 else None
            if value is None or value.dtype.kind != "f":
                continue
            value = value.reshape(shapes[tensor])
            place = find_place(value, state, layer)
            if place is None and value.size == 1:
                continue  # a number of the network's forward
            if place is None:
                raise UnsupportedModelError(f"the weight '{graph.name(tensor)}' is in the file only.")
            found[tensor] = place
            if isinstance(place, Place):
                layer = place.layer
    return found
