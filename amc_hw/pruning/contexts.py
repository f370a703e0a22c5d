"""Where the results of layers go: the batch norm that follows, and the residual sum that they end in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten
from torch.utils.weak import WeakTensorKeyDictionary

from amc_hw.pruning.formulas import Formulas
from amc_hw.tracing.attention import attention_by_parts


@dataclass(frozen=True)
class LayerContext:
    """What happens to the result of a layer.

    Attributes:
        norm: the batch norm that takes it directly and nothing else, if one does.
        partner: the number of the operator whose result is added to it (behind the batch norm) and is known before
            the layer runs: the other side of a residual sum.
        limits: what the activation that takes it (behind batch norm and sum) and nothing else leaves as it is:
            (0, inf) of a ReLU, (0, 6) of a ReLU6; None where there is none.
        is_formula: whether the layer's forward gives, once, what F.conv2d or F.linear makes of its own weights, of
            whatever input: only then can these be fitted. A layer that does not run is not known to give another thing.
    """

    norm: str | None = None
    partner: int | None = None
    limits: tuple[float, float] | None = None
    is_formula: bool = True

    def norm_of(self, modules: Mapping[str, nn.Module]) -> Any:
        """Return the batch norm out of a network's modules, or None."""
        return None if self.norm is None else modules[self.norm]


stopped = _disable_current_modes
"""Stops all clocks while work is done that is not the network's; a clock that ran on would make it twice as slow."""


class OperatorClock(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Numbers the operators of a forward pass, which is the same in a network and its pruned versions.

    Args:
        wanted: numbers of operators whose results are kept in `results`, once for each use; None is no operator.
    """

    def __init__(self, wanted: Iterable[int | None] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.results: dict[int, Tensor] = {}
        self._uses = Counter(number for number in wanted if number is not None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and note it."""
        output = func(*args, **(kwargs or {}))
        self.now += 1
        results = [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]
        if results:
            if self.now in self._uses:
                self.results[self.now] = results[0]
            self.seen(str(func.overloadpacket.__name__), args, results[0])
        return output

    def used(self, number: int | None) -> Tensor | None:
        """Return an operator's result, and let go of it after the last of its uses: all together fill the memory."""
        if number is None:
            return None
        self._uses[number] -= 1
        return self.results[number] if self._uses[number] else self.results.pop(number)

    def __enter__(self) -> OperatorClock:
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
        """Take note of an operator that has run, as number ``now``, and of its first result."""


class _ContextFinder(OperatorClock):  # type: ignore[no-untyped-call]
    def __init__(self, linear: Container[str]) -> None:
        super().__init__()
        self.norms: dict[str, str] = {}
        self.norm_calls: dict[str, int] = {}
        self.partners: dict[str, int] = {}
        self._started: dict[str, int] = {}
        self._written: MutableMapping[Tensor, int] = WeakTensorKeyDictionary()
        # By which layer a tensor was made, directly or with a batch norm behind it.
        self._made: MutableMapping[Tensor, str] = WeakTensorKeyDictionary()
        # And the sums that a layer was the last part of; how often each of these tensors was read.
        self._sums: MutableMapping[Tensor, str] = WeakTensorKeyDictionary()
        self._reads: MutableMapping[Tensor, list[int]] = WeakTensorKeyDictionary()
        self._activated: dict[str, tuple[tuple[float, float], list[int]]] = {}
        self._before_norm: dict[str, list[int]] = {}
        self._linear = linear
        self._formulas: dict[str, list[Tensor]] = {}
        self._returned: set[str] = set()
        self._others: set[str] = set()  # layers whose forward gives something else, or is called again

    def start(self, name: str, _: Any = None) -> None:
        """Note that a layer is about to compute."""
        self._started[name] = self.now

    def computed(self, name: str, output: Tensor) -> None:
        """Note what a layer's formula gave."""
        self._formulas.setdefault(name, []).append(output)
        self._result(output, name)

    def returned(self, name: str) -> Callable[..., None]:
        """Return a hook that takes note of what a layer's forward gave."""

        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            results = self._formulas.get(name, [])
            if len(results) == 1 and output is results[0] and name not in self._returned:
                self._returned.add(name)
                return
            self._others.add(name)
            if isinstance(output, Tensor):
                self._started.setdefault(name, self.now)
                self._result(output, name)

        return hook

    def normed(self, name: str, given: Tensor, output: Tensor) -> None:
        """Note what a batch norm's formula gave."""
        self.norm_calls[name] = self.norm_calls.get(name, 0) + 1
        layer = self._made.get(given)
        if layer is not None and (given.dim() == 2 or layer not in self._linear):  # of rows, norms take the second
            self.norms[layer] = name
            self._before_norm[layer] = self._reads[given]
            self._result(output, layer)

    def context(self, name: str) -> LayerContext:
        """Return a layer's context, after the forward pass."""
        is_formula = name not in self._others
        norm = self.norms.get(name)
        if norm is not None and self.norm_calls[norm] > 1:
            return LayerContext(is_formula=is_formula)
        if norm is not None and self._before_norm[name] != [1]:
            return LayerContext(None, self.partners.get(name), is_formula=is_formula)
        limits, reads = self._activated.get(name, (None, [0]))
        return LayerContext(norm, self.partners.get(name), limits if reads == [1] else None, is_formula)

    def read(self, tensors: Any) -> list[Tensor]:
        """Count a read of those tensors in a structure that layers have made, and return them."""
        read = [leaf for leaf in tree_flatten(tensors)[0] if isinstance(leaf, Tensor) and leaf in self._reads]
        for each in read:
            self._reads[each][0] += 1
        return read

    def _result(self, output: Tensor, layer: str) -> None:
        self._made[output] = layer
        self._reads[output] = [0]

    def seen(self, name: str, args: Any, result: Tensor) -> None:
        read = self.read(args)
        summed = None
        if name in ("add", "add_") and all(isinstance(arg, Tensor) for arg in args[:2]):
            for one, other in (args[:2], args[1::-1]):
                layer, written = self._made.get(one), self._written.get(other)
                if layer is None or written is None or one.shape != other.shape:
                    continue
                if written <= self._started[layer]:
                    self.partners[layer] = written
                    summed = layer
        limits = _limits(name.removesuffix("_"), args)
        if limits is not None and read:
            layer = self._made.get(read[0]) or self._sums[read[0]]
            self._activated[layer] = (limits, self._reads[read[0]])
        self._written[result] = self.now
        for known in (self._made, self._sums, self._reads):
            known.pop(result, None)
        if summed is not None:
            self._sums[result] = summed
            self._reads[result] = [0]


def _limits(operator: str, args: Any) -> tuple[float, float] | None:
    """Return the limits of an activation that cuts off; None of any other operator."""
    if operator == "relu":
        return 0.0, math.inf
    if operator == "hardtanh":
        given = [*args[1:3], *(-1.0, 1.0)[len(args) - 1 :]]  # what is left out is Hardtanh's own
        return float(given[0]), float(given[1])
    return None


def find_contexts(model: nn.Module, images: Tensor) -> dict[str, LayerContext]:
    """Return the context of every convolution and linear layer, from one forward pass of a model in evaluation mode."""
    modules = dict(model.named_modules())
    layers = {name: module for name, module in modules.items() if isinstance(module, nn.Conv2d | nn.Linear)}
    finder = _ContextFinder([name for name, module in layers.items() if isinstance(module, nn.Linear)])
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
