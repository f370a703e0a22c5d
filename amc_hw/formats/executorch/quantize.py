"""A network to an integer ExecuTorch file, by XNNPACK's quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.utils._pytree import tree_flatten, tree_unflatten

from amc_hw.errors import DeviceError, UnsupportedModelError, first_line
from amc_hw.formats.batches import whole_batches
from amc_hw.formats.executorch.convert import MISSING, lowered, rewritten
from amc_hw.formats.executorch.rewrites import with_own_parameters
from amc_hw.formats.interrupts import interrupts_deferred
from amc_hw.formats.program import traced_program
from amc_hw.formats.quiet import quiet
from amc_hw.formats.stand_in import standing_in
from amc_hw.policy import Precision
from amc_hw.quantize.tail import float_tail
from amc_hw.tracing.inputs import size_of

JOINED = frozenset({"cat", "stack", "concat"})
LAYERS = frozenset(
    {
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"),
        *("linear", "addmm", "mm", "bmm", "matmul", "einsum", "scaled_dot_product_attention"),
    }
)
FUSED = frozenset({"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "batch_norm"})
"""What XNNPACK computes with the layer before it, or what is folded into that."""


def quantized(model: nn.Module, example_input: Any, precision: Precision, calibration: Any) -> bytes:
    """Return a network's ExecuTorch file in int8; its inputs and its outputs stay what they are.

    Weights have a scale for each output channel, activations one for each tensor.

    Args:
        model: the network; it is not changed.
        example_input: (N, C, H, W), or other inputs; N becomes the file's batch size.
        precision: ``int8``.
        calibration: training images (N, C, H, W), or other inputs, that tell the ranges of activations.

    Raises:
        UnsupportedModelError: the quantizer refused the network.
        DeviceError: the extra ``executorch`` is not installed.
    """
    given, built = tree_flatten(calibration)
    parts = whole_batches([each.detach().cpu().numpy() for each in given], size_of(example_input))
    batches = [tuple(torch.from_numpy(np.ascontiguousarray(each)) for each in part) for part in parts]
    graph, _ = rewritten(model, tree_unflatten(batches[0], built))
    return lowered(traced_program(_with_scales(with_own_parameters(graph), precision, batches), batches[0]))


def left_in_float(content: bytes) -> list[str]:
    """Return the names of the operators of a file that still compute in floating point."""
    from amc_hw.formats.executorch.graph import PteGraph

    return PteGraph(content).float_kinds()


def _float_tail(graph: Graph) -> set[Node]:
    """Return the operators at a program's end that stay in float32; see `float_tail`."""
    nodes = list(graph.nodes)
    place = {node: number for number, node in enumerate(nodes)}
    kinds = [str(node.target).removeprefix("aten.").partition(".")[0] for node in nodes]
    tail = float_tail(
        [{place[read] for read in node.all_input_nodes} for node in nodes],
        [number for number, kind in enumerate(kinds) if kind in LAYERS],
        [number for number, kind in enumerate(kinds) if kind in JOINED],
        [number for number, kind in enumerate(kinds) if kind in FUSED],
    )
    return {nodes[number] for number in tail}


@interrupts_deferred()
def _with_scales(graph: nn.Module, precision: Precision, batches: Sequence[tuple[Tensor, ...]]) -> nn.Module:
    """Return a program's graph with the scales of int8 around its operators."""
    with quiet(), torch.no_grad():
        try:
            from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
            from torchao.quantization.pt2e import quantize_pt2e as steps
        except ImportError as error:
            raise DeviceError(MISSING) from error

        quantizer = xnnpack.XNNPACKQuantizer

        class AllButTheTail(quantizer):  # type: ignore[misc, valid-type]
            # The others look for batch norms in training; each of them is exported every time.
            SUPPORTED_PATTERNS = tuple(each for each in getattr(quantizer, "SUPPORTED_PATTERNS", ()) if not each.is_qat)

            def annotate(self, model: GraphModule) -> GraphModule:
                model = super().annotate(model)
                for node in _float_tail(model.graph):
                    node.meta.pop("quantization_annotation", None)
                return model

        try:
            settings = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
            observed = steps.prepare_pt2e(graph, AllButTheTail().set_global(settings))
            for part in batches:
                observed(*part)
            # Most of a conversion's time is a search for what only training on the grid makes of batch norms.
            with standing_in(steps, "_fold_conv_bn_qat", lambda program: program):
                scaled: nn.Module = steps.convert_pt2e(observed)
            return scaled
        except Exception as error:
            raise UnsupportedModelError(
                f"XNNPACK's quantizer cannot write this network in {precision}: {first_line(error)}"
            ) from error
