"""A network as the ATen calls that PyTorch makes, in a file that needs only numpy and torch.

It is what a GPU runs that has PyTorch for its runtime: nothing between the network and PyTorch's own
kernels. profilers/aten_network.py defines the format.
"""

from __future__ import annotations

import importlib.util
import io
import operator
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, fx, nn

from amc_hw.errors import UnsupportedModelError, first_line
from amc_hw.formats.aten.stored import HALVES, CallRecord, GraphRecord, pack
from amc_hw.formats.batches import Arrays, in_batches
from amc_hw.formats.program import traced_program
from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.shipped import shipped

FORMAT = 2
"""History: 1, the first; 2, ``dtype`` says in what a file computes."""
_UNBIND = torch.ops.aten.unbind.int
_SPLITS = (torch.ops.aten.chunk.default, torch.ops.aten.split.Tensor, torch.ops.aten.split_with_sizes.default, _UNBIND)
"""Calls with several results, of which each is a range of one axis, or a place of it."""
_PRODUCTS = frozenset(
    {"linear", "matmul", "mm", "bmm", "addmm", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))}
)
_Call: TypeAlias = tuple[str, Callable[..., Tensor], list[Any]]
"""The result's name, the operator, which calls itself ``aten.relu.default``, and its arguments."""


def to_aten(model: nn.Module, example_input: Any) -> bytes:
    """Write a network's ATen calls and weights, traced by torch.export, batch-norms folded.

    Args:
        model: any network; it is not changed.
        example_input: (N, C, H, W); N becomes the file's batch size.

    Raises:
        UnsupportedModelError: torch.export refused the network, a call has more than one result, or the network takes
            more than one input.
    """
    if not isinstance(example_input, Tensor):
        raise UnsupportedModelError(
            "files of ATen calls hold networks of one input only; choose a device that runs tflite or onnx."
        )
    program = traced_program(fold_batch_norms(model, example_input).cpu(), example_input)
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    sources = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    sources.update(signature.inputs_to_lifted_tensor_constants)
    nodes = [n for n in program.graph_module.graph.nodes if n.op == "call_function" and n.target not in _SPLITS]
    shapes = {node.name: list(node.meta["val"].shape) for node in nodes if isinstance(node.meta["val"], Tensor)}
    shapes[signature.user_inputs[0]] = list(example_input.shape)
    used = {argument.name for node in nodes for argument in node.all_input_nodes}
    weights = {name: state[source].detach().numpy() for name, source in sources.items() if name in used}
    graph: GraphRecord = {
        "format": FORMAT,
        "dtype": "float32",
        "input": signature.user_inputs[0],
        "output": signature.user_outputs[0],
        "shapes": {**shapes, **{name: list(weight.shape) for name, weight in weights.items()}},
        "weights": list(weights),
        "calls": [_call(node) for node in nodes],
    }
    return pack(graph, weights)


def _call(node: fx.Node) -> CallRecord:
    """Describe a call: positional arguments, the operator's defaults put in where it was given names."""
    source: Any = node.args[0] if node.target is operator.getitem else None
    if source is not None and source.target in _SPLITS:
        return _part(node, source)
    if not isinstance(node.target, torch._ops.OpOverload) or not isinstance(node.meta["val"], Tensor):
        raise UnsupportedModelError(f"the network calls {node.target}, which is no operator with one result.")
    declared = node.target._schema.arguments
    given = [*node.args, *(node.kwargs.get(a.name, a.default_value) for a in declared[len(node.args) :])]
    if any(a.kwarg_only and a.name in node.kwargs for a in declared):
        raise UnsupportedModelError(f"the network calls {node.target} with options that a file cannot hold.")
    given = given[: sum(not a.kwarg_only for a in declared)]
    return {"name": node.name, "op": str(node.target), "args": [_argument(value, node) for value in given]}


def _part(node: fx.Node, split: Any) -> CallRecord:
    """Describe one part of a split as what it is, too: a range of one axis of the tensor, or a place of it."""
    number: Any = node.args[1]
    declared = [argument.name for argument in split.target._schema.arguments]
    axis = dict(zip(declared, split.args, strict=False)).get("dim", split.kwargs.get("dim", 0))
    if split.target is _UNBIND:
        arguments = [_argument(split.args[0], node), axis, number]
        return {"name": node.name, "op": "aten.select.int", "args": arguments}
    lengths = [int(part.shape[axis]) for part in split.meta["val"]]
    arguments = [_argument(split.args[0], node), axis, sum(lengths[:number]), lengths[number]]
    return {"name": node.name, "op": "aten.narrow.default", "args": arguments}


def _argument(value: object, node: fx.Node) -> object:
    if isinstance(value, fx.Node):
        return {"tensor": value.name}
    if isinstance(value, (list, tuple)):
        return [_argument(part, node) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UnsupportedModelError(f"the network calls {node.target} with {type(value).__name__}, which is no number.")


class AtenModel:
    """Runs such a file in this process, for checking and evaluation (not for timing).

    Files of 16 bits run on a GPU where there is one, as they will. On a processor, whose kernels are slow at them,
    products are summed in float32 and then rounded, as a GPU's tensor cores do it.

    Args:
        content: the file's bytes.

    Raises:
        UnsupportedModelError: this is no such file, or another torch wrote it.
    """

    def __init__(self, content: bytes) -> None:
        load = _program().Network
        try:
            self._network = load(io.BytesIO(content), "cpu", False)
            if self._network.dtype in HALVES.values():
                if torch.cuda.is_available():
                    self._network = load(io.BytesIO(content), "cuda", False)
                else:
                    self._network.calls = [_quick(call, self._network.dtype) for call in self._network.calls]
        except (ValueError, KeyError, OSError, BadZipFile) as error:
            raise UnsupportedModelError(f"this is not a file of ATen calls that torch can run: {error}") from error
        self.image_size: tuple[int, ...] = self._network.input_shape[1:]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the outputs for ``images`` (N, C, H, W float32)."""
        return self.outputs([images])[0]

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return the first output, in a list, for one input.

        Raises:
            UnsupportedModelError: PyTorch does not run the network in the file's precision.
        """
        return in_batches([self._run], inputs, self._network.input_shape[0])

    def _run(self, inputs: Arrays) -> list[np.ndarray]:
        network, (images,) = self._network, inputs
        try:
            with torch.inference_mode():
                output = network(network.placed(torch.from_numpy(images)))
        except RuntimeError as error:
            kind = str(network.dtype).removeprefix("torch.")
            raise UnsupportedModelError(
                f"PyTorch does not run this network in {kind} ({first_line(error)}); choose another precision=."
            ) from error
        return [(output.float() if output.is_floating_point() else output).cpu().numpy()]


def _quick(call: _Call, half: torch.dtype) -> _Call:
    """Return a call of a network of 16 bits as a processor is quick at it."""
    name, function, arguments = call
    is_product = str(function).split(".")[1] in _PRODUCTS
    return (name, partial(_summed_in_float32, function, half), arguments) if is_product else call


def _summed_in_float32(function: Callable[..., Tensor], half: torch.dtype, *arguments: Any) -> Tensor:
    if any(isinstance(each, Tensor) and each.dtype != half for each in arguments):
        return function(*arguments)  # which tells that they do not fit
    return function(*(each.float() if isinstance(each, Tensor) else each for each in arguments)).to(half)


@cache
def _program() -> ModuleType:
    """Load the code that runs such files on devices."""
    spec = importlib.util.spec_from_file_location("aten_network", shipped("profilers") / "aten_network.py")
    if spec is None or spec.loader is None:
        raise UnsupportedModelError("this installation of amc-hw has no profilers/aten_network.py; install it again.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
