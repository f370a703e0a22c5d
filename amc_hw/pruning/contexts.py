"""Where the results of layers go: the batch norm that follows, and the residual sum that they end in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakTensorKeyDictionary

from amc_hw.pruning.formulas import Formulas
from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.kinds import Weighted


@dataclass(frozen=True)
class LayerContext:
    """What happens to the result of a layer.

    Attributes:
        norm: the batch norm that takes it directly and nothing else, if one does.
        partner: the number of the operator whose result is added to it (behind the batch norm) and is known before
            the layer runs: the other side of a residual sum.
        linear_range: what the activation that takes it (behind batch norm and sum) and nothing else leaves as it is:
            (0, inf) of a ReLU, (0, 6) of a ReLU6; None where there is none.
        is_formula: whether the layer's forward gives, once, what F.conv2d or F.linear makes of its own weights, of
            whatever input: only then can these be fitted. A layer that does not run is not known to give another thing.
    """

    norm: str | None = None
    partner: int | None = None
    linear_range: tuple[float, float] | None = None
    is_formula: bool = True

    def norm_of(self, modules: Mapping[str, nn.Module]) -> Any:
        """Return the batch norm out of a network's modules, or None."""
        return None if self.norm is None else modules[self.norm]


stopped = _disable_current_modes
"""Stops all counters while work is done that is not the network's; one that ran on would make it twice as slow."""


class OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Numbers the operators of a forward pass, which is the same in a network and its pruned versions.

    Copies have no number: whether a reshape makes one depends on the sizes (of heads, where one is left of two).

    Args:
        wanted: numbers of operators whose results are kept in `results`, once for each use; None is no operator.
    """

    def __init__(self, wanted: Iterable[int | None] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.results: dict[int, Tensor] = {}
        self._uses = Counter(number for number in wanted if number is not None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and note it."""
        output = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket.__name__)
        if name == "clone":
            self.copied(args[0], output)
            return output
        self.count += 1
        results = [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]
        if results:
            if self.count in self._uses:
                self.results[self.count] = results[0]
            self.seen(name, args, results[0])
        return output

    def used(self, number: int | None) -> Tensor | None:
        """Return an operator's result, and let go of it after the last of its uses: all together fill the memory."""
        if number is None:
            return None
        self._uses[number] -= 1
        return self.results[number] if self._uses[number] else self.results.pop(number)

    def __enter__(self) -> OperatorCounter:
        """Count from here on."""
        self._parts = attention_by_parts()
        self._parts.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """Count no more."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._parts.__exit__(*error)

    def seen(self, name: str, args: Any, result: Tensor) -> None:
        """Take note of an operator that has run, as number ``count``, and of its first result."""

    def copied(self, given: Tensor, result: Tensor) -> None:
        """Take note of a copy."""


@dataclass
class _Tensor:
    """What is known of a tensor.

    Attributes:
        written: the number of the operator that it is the first result of; None where none has been seen.
        layer: the layer that made it, directly or with a batch norm behind it, or that was the last part of the sum.
        is_sum: whether it is such a sum.
        reads: how often it was read; counted where there is a layer.
    """

    written: int | None = None
    layer: str | None = None
    is_sum: bool = False
    reads: int = 0


@dataclass
class _Layer:
    """What is known of a layer.

    Attributes:
        started: how many operators had run when it last began to compute.
        formulas: what its formula gave, once for each call.
        returned: whether its forward has given what its formula did.
        is_formula: whether it has not given something else, and its weights were not used again.
        norm: the batch norm that took its result.
        normed: that result.
        partner: see `LayerContext`.
        linear_range: of the last activation that took its result or sum.
        activated: what that activation took.
    """

    started: int | None = None
    formulas: list[Tensor] = field(default_factory=list)
    returned: bool = False
    is_formula: bool = True
    norm: str | None = None
    normed: _Tensor | None = None
    partner: int | None = None
    linear_range: tuple[float, float] | None = None
    activated: _Tensor | None = None


class _ContextFinder(OperatorCounter):  # type: ignore[no-untyped-call]
    """Follows the results of layers through one forward pass.

    Args:
        layers: their names.
        linear: those of them that are linear.
    """

    def __init__(self, layers: Iterable[str], linear: Container[str]) -> None:
        super().__init__()
        self._linear = linear
        self._layers = {name: _Layer() for name in layers}
        self._norm_calls: Counter[str] = Counter()
        self._tensors: MutableMapping[Tensor, _Tensor] = WeakTensorKeyDictionary()

    def start(self, name: str, _: Any = None) -> None:
        """Note that a layer is about to compute."""
        self._layers[name].started = self.count

    def computed(self, name: str, output: Tensor) -> None:
        """Note what a layer's formula gave."""
        layer = self._layers[name]
        layer.is_formula &= not layer.formulas  # else a function of the forward computes with its weights, too
        layer.formulas.append(output)
        self._result(output, name)

    def returned(self, name: str) -> Callable[..., None]:
        """Return a hook that takes note of what a layer's forward gave."""
        layer = self._layers[name]

        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            if len(layer.formulas) == 1 and output is layer.formulas[0] and not layer.returned:
                layer.returned = True
                return
            layer.is_formula = False
            if isinstance(output, Tensor):
                if layer.started is None:
                    layer.started = self.count
                self._result(output, name)

        return hook

    def normed(self, name: str, given: Tensor, output: Tensor) -> None:
        """Note what a batch norm's formula gave."""
        self._norm_calls[name] += 1
        taken = self._tensors.get(given)
        if taken is None or taken.layer is None or taken.is_sum:
            return
        if given.dim() == 2 or taken.layer not in self._linear:  # of rows, norms take the second
            layer = self._layers[taken.layer]
            layer.norm, layer.normed = name, taken
            self._result(output, taken.layer)

    def context(self, name: str) -> LayerContext:
        """Return a layer's context, after the forward pass."""
        layer = self._layers[name]
        if layer.norm is not None and self._norm_calls[layer.norm] > 1:
            return LayerContext(is_formula=layer.is_formula)
        if layer.normed is not None and layer.normed.reads != 1:
            return LayerContext(None, layer.partner, is_formula=layer.is_formula)
        alone = layer.activated is not None and layer.activated.reads == 1
        return LayerContext(layer.norm, layer.partner, layer.linear_range if alone else None, layer.is_formula)

    def read(self, tensors: Any) -> list[_Tensor]:
        """Count a read of those tensors in a structure that layers have made, and return what is known of them."""
        leaves = [leaf for leaf in tree_flatten(tensors)[0] if isinstance(leaf, Tensor)]
        known = [self._tensors[leaf] for leaf in leaves if leaf in self._tensors]
        read = [each for each in known if each.layer is not None]
        for each in read:
            each.reads += 1
        return read

    def _result(self, output: Tensor, layer: str) -> None:
        before = self._tensors.get(output)
        self._tensors[output] = _Tensor(None if before is None else before.written, layer)

    def copied(self, given: Tensor, result: Tensor) -> None:
        """Count the read; a copy is the result of no operator that has a number."""
        self.read(given)
        self._tensors[result] = _Tensor()

    def seen(self, name: str, args: Any, result: Tensor) -> None:
        """Take note of a sum, or of an activation."""
        read = self.read(args)
        summed = None
        if name in ("add", "add_") and all(isinstance(arg, Tensor) for arg in args[:2]):
            for one, other in (args[:2], args[1::-1]):
                part = self._last_part(one, other)
                summed = summed if part is None else part
        linear_range = _linear_range(name.removesuffix("_"), args)
        if linear_range is not None and read and read[0].layer is not None:
            layer = self._layers[read[0].layer]
            layer.linear_range, layer.activated = linear_range, read[0]
        self._tensors[result] = _Tensor(self.count, summed, is_sum=summed is not None)

    def _last_part(self, one: Tensor, other: Tensor) -> str | None:
        """Return the layer that made one part of a sum, if the other was known before it ran; note its partner."""
        made, beside = self._tensors.get(one), self._tensors.get(other)
        if made is None or made.layer is None or made.is_sum or beside is None or beside.written is None:
            return None
        layer = self._layers[made.layer]
        if one.shape != other.shape or layer.started is None or beside.written > layer.started:
            return None
        layer.partner = beside.written
        return made.layer


def _linear_range(operator: str, args: Any) -> tuple[float, float] | None:
    """Return the linear range of an activation that cuts off; None of any other operator."""
    if operator == "relu":
        return 0.0, math.inf
    if operator == "hardtanh":
        given = [*args[1:3], *(-1.0, 1.0)[len(args) - 1 :]]  # what is left out is Hardtanh's own
        return float(given[0]), float(given[1])
    return None


def find_contexts(model: nn.Module, images: Tensor) -> dict[str, LayerContext]:
    """Return the context of every convolution and linear layer, from one forward pass of a model in evaluation mode."""
    modules = dict(model.named_modules())
    layers = {name: module for name, module in modules.items() if isinstance(module, Weighted)}
    finder = _ContextFinder(layers, {name for name, module in layers.items() if isinstance(module, nn.Linear)})
    hooks = [module.register_forward_hook(finder.returned(name)) for name, module in layers.items()]
    formulas = Formulas(modules, before=finder.start, after=finder.computed, norm_after=finder.normed)
    try:
        with torch.no_grad(), finder, formulas:
            output = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    finder.read(output)  # whoever called the network reads it
    return {name: finder.context(name) for name in layers}
