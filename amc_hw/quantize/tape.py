"""What a network calls in one forward pass, in order, and where a quantized file of it rounds its activations.

A converter turns the calls into operators, and a quantizer gives the result of every operator a scale: but an
activation that follows a layer directly is a part of it, and what only moves or picks values keeps its input's scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakTensorKeyDictionary

from amc_hw.policy import Io
from amc_hw.quantize.ranges import Classes
from amc_hw.quantize.tail import float_tail

WEIGHTED = frozenset({"conv1d", "conv2d", "conv3d", "linear"})
"""Calls whose second operand is a weight, its first axis the outputs."""
_LAYERS = WEIGHTED | {
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "bilinear", "embedding"),
    *("matmul", "rmatmul", "bmm", "mm", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention"),
}
_TAKES_ACTIVATION = WEIGHTED | {"add", "sub", "mul", "div", "batch_norm"}
_ACTIVATIONS = frozenset({"relu", "relu6"})
_CLAMPS = {"hardtanh": ((1, "min_val"), (2, "max_val")), **dict.fromkeys(("clamp", "clip"), ((1, "min"), (2, "max")))}
_CLAMPED = {(0, None): "relu", (0, 6): "relu6"}
_SAME_SCALE = frozenset(
    {
        *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "get"),
        *("permute", "transpose", "t", "movedim", "swapaxes", "moveaxis", "expand", "expand_as", "view_as", "alias"),
        *("split", "chunk", "unbind", "tensor_split", "narrow", "select", "getitem", "flip", "roll", "repeat", "tile"),
        *("dropout", "dropout2d", "feature_dropout", "alpha_dropout", "identity", "to", "float", "type", "type_as"),
        *("pad", "max_pool1d", "max_pool2d", "boolean_dispatch", "amax", "adaptive_max_pool2d"),
        *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "interpolate", "upsample"),
    }
)
_JOINED = frozenset({"cat", "concat", "concatenate", "stack"})


def _hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    return input * F.relu6(input + 3) * (1 / 6)


_AS_WRITTEN: dict[str, Callable[..., Tensor]] = {"hardswish": _hardswish}
"""Functions that are several operators of the file (`amc_hw.formats.tflite.one_part`), each of which rounds."""


@dataclass
class Call:
    """One call of a function of torch that made a tensor of floating-point numbers.

    Attributes:
        name: of the function, without underscores.
        reads: numbers of the calls that made its operands; -1 is the network's first input of floating-point numbers,
            -2 the second. Weights and other constants are left out.
        readers: how many calls read its result.
    """

    name: str
    reads: list[int]
    readers: int = 0


@dataclass
class Tape:
    """The calls of one forward pass.

    Attributes:
        calls: in order.
        inputs: how many of floating-point numbers the network takes.
        returned: numbers of the calls that made the network's results.
    """

    calls: list[Call] = field(default_factory=list)
    inputs: int = 1
    returned: frozenset[int] = frozenset()

    def rounded(self, io: Io = "float32") -> dict[int, int]:
        """Return the calls whose results are rounded, each with the least number of those that have its scale.

        Where ``io`` is of the file, ``int8`` leaves no end of it in float32.
        """
        scales, tail = self._scales_and_tail(io)
        moved = _SAME_SCALE | _JOINED
        return {
            number: scales.of(number)
            for number, call in enumerate(self.calls)
            if number not in tail and call.name not in moved and not self._goes_on(number)
        }

    def rounded_inputs(self, io: Io = "float32") -> dict[int, int]:
        """Return the inputs that are rounded, -1, -2 ..., each with the least number of those that have its scale.

        One that nothing but a float32 end reads stays as it is.
        """
        scales, tail = self._scales_and_tail(io)
        read = {each for number, call in enumerate(self.calls) if number not in tail for each in call.reads}
        return {number: scales.of(number) for number in range(-self.inputs, 0) if number in read}

    def _scales_and_tail(self, io: Io) -> tuple[Classes, set[int]]:
        """Return which results have one scale, and the calls that stay in float32."""
        scales, tail = Classes(), self._float_tail() if io == "float32" else set()
        for number, call in enumerate(self.calls):
            if number in tail:
                continue
            if call.name in _SAME_SCALE and call.reads:
                scales.join(call.reads[0], number)
            if call.name in _JOINED:
                for read in call.reads:
                    scales.join(read, number)
        return scales, tail

    def _float_tail(self) -> set[int]:
        layers = [number for number, call in enumerate(self.calls) if call.name in _LAYERS]
        joins = [number for number, call in enumerate(self.calls) if call.name in _JOINED]
        reads = [{read for read in call.reads if read >= 0} for call in self.calls]
        parts = [number for number, own in enumerate(reads) if any(map(self._goes_on, own))]
        return float_tail(reads, layers, joins, parts)

    def _goes_on(self, number: int) -> bool:
        """Tell whether the result of a call goes into what is a part of the same operator, and nowhere else."""
        call = self.calls[number]
        if call.readers != 1 or number in self.returned:
            return False
        reader = next(later.name for later in self.calls[number + 1 :] if number in later.reads)
        if call.name in WEIGHTED and reader == "batch_norm":
            return True
        return call.name in _TAKES_ACTIVATION and reader in _ACTIVATIONS


class Calls(TorchFunctionMode):
    """Numbers the calls that make floating-point tensors; what a function calls itself is a part of it.

    Args:
        after: given the number and the name of a call and its result, returns what the network goes on with.
        weight: given a weight, returns what a convolution or a linear layer computes with.
    """

    def __init__(
        self, after: Callable[[int, str, Tensor], Tensor], weight: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.count = 0
        self._after = after
        self._weight = weight

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        name = name_of(func, args, kwargs)
        if name in _AS_WRITTEN:
            with self:
                return _AS_WRITTEN[name](*args, **kwargs)
        if name in WEIGHTED and self._weight is not None:
            args, kwargs = _with_weight(self._weight, args, kwargs)
        self.operands(args, kwargs)
        output = func(*args, **kwargs)
        if not is_float(output):
            for leaf in tree_flatten(output)[0]:
                if is_float(leaf):
                    self._after(self._next(), name, leaf)
            return output
        return self._after(self._next(), name, output)

    def operands(self, args: Any, kwargs: Any) -> None:
        """Look at what a function is called with."""

    def _next(self) -> int:
        self.count += 1
        return self.count - 1


def name_of(func: Any, args: Any, kwargs: Any) -> str:
    """Return a function's name without underscores or the sign of an in-place form; of a clamp, an activation's."""
    name = str(getattr(func, "__name__", func)).strip("_")
    name = name.removeprefix("i") if name in ("iadd", "imul", "isub") else name
    if name in _CLAMPS:
        low, high = (kwargs.get(key, args[place] if len(args) > place else None) for place, key in _CLAMPS[name])
        return _CLAMPED.get((low, high), name)
    return name


def is_float(value: Any) -> bool:
    """Tell whether a value is a tensor of floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()


class _Recorder(Calls):
    def __init__(self) -> None:
        super().__init__(self._note)
        self.tape = Tape()
        self.makers: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._reads: list[int] = []

    def made(self, values: Any) -> list[int]:
        """Return the numbers of the calls that made tensors, and of inputs among them, but for constants."""
        return [int(self.makers[leaf]) for leaf in tree_flatten(values)[0] if is_float(leaf) and leaf in self.makers]

    def operands(self, args: Any, kwargs: Any) -> None:
        self._reads = self.made((args, kwargs))

    def _note(self, number: int, name: str, result: Tensor) -> Tensor:
        for maker in {maker for maker in self._reads if maker >= 0}:
            self.tape.calls[maker].readers += 1
        self.tape.calls.append(Call(name, self._reads))
        self.makers[result] = number
        return result


def record(model: nn.Module, inputs: Any) -> Tape:
    """Return the calls of a network, in the mode that it is in, for some images (N, C, H, W) or other inputs."""
    recorder = _Recorder()
    given = [leaf for leaf in tree_flatten(inputs)[0] if is_float(leaf)]
    recorder.tape.inputs = len(given)
    recorder.makers.update({leaf: -1 - place for place, leaf in enumerate(given)})
    with torch.no_grad(), recorder:
        outputs = model(inputs)
    recorder.tape.returned = frozenset(recorder.made(outputs))
    return recorder.tape


def _with_weight(change: Callable[[Tensor], Tensor], args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the operands of a convolution or a linear layer with a changed weight."""
    if "weight" in kwargs:
        return args, {**kwargs, "weight": change(kwargs["weight"])}
    return (args[0], change(args[1]), *args[2:]), kwargs
