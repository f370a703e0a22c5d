"""A network as a list of ATen calls in one .npz file, and how PyTorch runs it. Needs numpy and torch.

The file's array ``graph`` is JSON in UTF-8, and every weight is an array ``weight:NAME``:

    {"format": 2, "dtype": "float32", "input": "x", "output": "linear",
     "shapes": {"x": [1, 3, 32, 32], "conv.weight": ..., "conv2d": ...}, "weights": ["conv.weight", ...],
     "calls": [{"name": "conv2d", "op": "aten.conv2d.default",
                "args": [{"tensor": "x"}, {"tensor": "conv.weight"}, null, [1, 1], [0, 0], [1, 1], 1]}]}

``dtype`` is the type of weights and activations: float32, float16, or bfloat16, which is stored as its bits in uint16.
Files of format 1 do not tell it, and are float32.

An argument is a tensor by its name, a number, true, false, null, a text, or a list of such. Nothing in a file is
executed: a call names an operator of PyTorch's ATen library.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import torch

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Network:
    """A network that is read from a file.

    Args:
        file: a path, or an open binary file.
        device: where weights and images live.
        channels_last: how they lie in memory.
    """

    def __init__(self, file: object, device: str, channels_last: bool) -> None:
        with np.load(file, allow_pickle=False) as arrays:
            self.graph = json.loads(bytes(arrays["graph"]).decode())
            stored = {name: tensor_of(arrays[f"weight:{name}"]) for name in self.graph["weights"]}
        self.dtype = DTYPES[self.graph.get("dtype", "float32")]
        self.device, self.channels_last = device, channels_last
        self.weights = {name: self.placed(weight) for name, weight in stored.items()}
        self.calls = [(call["name"], operator(call["op"]), call["args"]) for call in self.graph["calls"]]
        self.input_shape = tuple(self.graph["shapes"][self.graph["input"]])

    def placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor as the network computes with it."""
        tensor = tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)
        if self.channels_last and tensor.dim() == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def __call__(self, images: torch.Tensor, around: Callable[[str], object] | None = None) -> torch.Tensor:
        """Run the network; ``around`` makes a context for each call from its name."""
        known = {**self.weights, self.graph["input"]: images}
        for name, function, arguments in self.calls:
            given = [value_of(argument, known) for argument in arguments]
            if around is None:
                known[name] = function(*given)
            else:
                with around(name):
                    known[name] = function(*given)
        return known[self.graph["output"]]


def tensor_of(stored: np.ndarray) -> torch.Tensor:
    """Return a weight as it was before it was stored."""
    if stored.dtype == np.uint16:
        return torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(stored)


def operator(name: str) -> Callable[..., torch.Tensor]:
    """Return an operator by its name, ``aten.conv2d.default``; raise ValueError where PyTorch has none of it."""
    library, _, rest = name.partition(".")
    packet, _, overload = rest.partition(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if library != "aten" or not isinstance(found, torch._ops.OpOverload):
        raise ValueError(f"torch {torch.__version__} has no operator {name}")
    return found


def value_of(argument: object, known: dict[str, torch.Tensor]) -> object:
    """Return an argument of a call with its tensors put in."""
    if isinstance(argument, dict):
        return known[argument["tensor"]]
    if isinstance(argument, list):
        return [value_of(part, known) for part in argument]
    return argument
