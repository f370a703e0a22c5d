"""Follow the channels of a network through one forward pass, operator by operator.

A dispatch mode sees every ATen operator and gives its result labels (`labels.py`). Convolutions, linear layers,
batch norms and PReLUs are seen as a whole, through forward hooks. An operator without a rule keeps all channels it
touches: what is not understood is left alone, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from amc_hw.tracing import attention, moves, norms
from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.attributes import Attribute, Drivers, sizes_given
from amc_hw.tracing.followed import Call, Followed
from amc_hw.tracing.functional import FunctionalLayers
from amc_hw.tracing.kinds import Transposed, Weighted, in_equal_parts, map_dimensions
from amc_hw.tracing.labels import compact, first, fixed, varies
from amc_hw.tracing.leaves import channel_dim, is_leaf, tensors_in
from amc_hw.tracing.linear_calls import LinearCalls, linear_layers
from amc_hw.tracing.network import Side
from amc_hw.tracing.operator import MIXING, Heads, Operator, Place, Rows, along_all_but, kind_of
from amc_hw.tracing.operator_names import CUTS, MOVES, NEW, PARTS, SAME, is_pointwise
from amc_hw.tracing.parts import Parts
from amc_hw.tracing.queries import FirstOperands
from amc_hw.tracing.rearranged import rearranged
from amc_hw.tracing.slicing import width

_RULES = {**norms.RULES, **attention.RULES, **moves.RULES}


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, model: nn.Module, drivers: Drivers, heads: Mapping[str, Heads], queries: Sequence[Rows]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = Followed()
        self._drivers = drivers
        self._parts = Parts(self.found.book, self._counts)
        self._labels: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._inside = 0  # how deep in leaves: their operators are not looked at
        self._functional = False  # in a layer that is not called as a module
        self._groups: dict[int, Attribute] = {}  # what the groups of the last such convolution come from
        self._path: list[tuple[str, nn.Module, Any]] = []
        self._heads = heads
        self._queries = iter(queries)
        self._mixing = 0  # operators of `MIXING` that have run
        self._hooks: list[RemovableHandle] = []
        self._state: dict[int, str] = {}
        self._weights: dict[int, str] = {}
        self._modules = dict(model.named_modules())
        for name, module in self._modules.items():
            self._hooks.append(module.register_forward_pre_hook(self._enter(name)))
            self._hooks.append(module.register_forward_hook(self._leave(name), with_kwargs=True))
            if is_leaf(module):
                self._weights.update({id(p): name for p in module.parameters() if id(p) not in self._weights})
            else:
                for key, tensor in [*module.named_parameters(name, False), *module.named_buffers(name, False)]:
                    self._state[id(tensor)] = key

    def remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def labels(self, tensor: Tensor) -> Tensor:
        """Labels of a tensor; those of a bare parameter are given out at its first use."""
        if tensor not in self._labels:
            name = self._state.get(id(tensor))
            if name is None or tensor.numel() <= 1:
                return fixed(tensor.shape)
            if name in self.found.functional:
                for side in ("in", "out"):
                    self.found.book.keep(self.found.sides[name, side], f"'{name}' is also used in another way")
                return fixed(tensor.shape)
            self.found.bare[name] = self.found.book.fresh(tensor.numel()).reshape(tensor.shape)
            self._labels[tensor] = self.found.bare[name]
        found: Tensor = self._labels[tensor]
        return found

    # Leaves

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            self._path.append((name, module, args))
            self._drivers.enter(name)
            self._inside += is_leaf(module)

        return hook

    def _leave(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if is_leaf(module):
                if self._inside == 1:
                    self._leaf_ran(name, module, tensors_in((args, kwargs)), output)
                self._inside -= 1
            self._path.pop()

        return hook

    def called(self, name: str, x: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        """Follow a layer whose weights are used without calling it."""
        if self._inside:
            return compute()
        self._inside, self._functional = 1, True
        output = compute()
        self._functional = False
        self._leaf_ran(name, self._modules[name], [x], output)
        self._inside = 0
        return output

    def _leaf_ran(self, name: str, module: nn.Module, inputs: list[Tensor], output: Any) -> None:
        """Give a leaf's results labels; what is not one tensor for one, as its class has it, stays whole."""
        if isinstance(module, nn.Embedding) and isinstance(output, Tensor) and output.size(-1) == module.embedding_dim:
            self.found.makers.append(name)
            leaving = self.found.sides.get((name, "out"))
            if leaving is None:
                leaving = self._note(name, "out", self.found.book.fresh(module.embedding_dim))
            self._keep_shared(name, module, leaving, leaving)
            self._labels[output] = leaving.view(*(1,) * (output.dim() - 1), -1).expand(output.shape)
            return
        if len(inputs) == 1 and isinstance(output, Tensor) and output.dim() == inputs[0].dim():
            sizes = [tensor.size(channel_dim(module, tensor)) for tensor in (inputs[0], output)]
            if isinstance(module, nn.PReLU) or sizes == [width(module, side) for side in ("in", "out")]:
                self._labels[output] = self._leaf(name, module, inputs[0], output)
                return
        for tensor in inputs:
            self.found.book.keep(self.labels(tensor), f"'{name}' ({type(module).__name__}) has a forward of its own")
        for tensor in tensors_in(output):
            self._labels[tensor] = fixed(tensor.shape)

    def _leaf(self, name: str, module: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        labels = self.labels(x)
        book = self.found.book
        dim = channel_dim(module, x)
        for other in range(x.dim()):
            if other != dim:
                labels = book.along(labels, other)
        entering = first(labels, [d for d in range(x.dim()) if d != dim]).flatten()
        if isinstance(module, Weighted):
            self.found.makers.append(name)
            self.found.calls.append(Call(name, module, x.shape if isinstance(module, Transposed) else output.shape))
            self._note(name, "in", entering)
            leaving = self.found.sides.get((name, "out"))
            if leaving is None:
                leaving = self._note(name, "out", book.fresh(output.shape[dim]))
            groups = getattr(module, "groups", 1)
            if in_equal_parts(module):
                for labels in (entering, leaving):
                    book.along(labels.view(groups, -1), 0)
            elif groups > 1:  # a group of the convolution is removed as a whole
                blocks = torch.cat([entering.view(groups, -1), leaving.view(groups, -1)], 1)
                book.along(blocks, 1)
        elif isinstance(module, nn.PReLU) and module.num_parameters == 1:
            leaving = entering
        else:
            leaving = self._note(name, "out", entering)
        self._keep_shared(name, module, entering, leaving)
        return leaving.view(tuple(-1 if d == dim else 1 for d in range(x.dim()))).expand(output.shape)

    def _keep_shared(self, name: str, module: nn.Module, entering: Tensor, leaving: Tensor) -> None:
        for owner in {self._weights.get(id(parameter), name) for parameter in module.parameters()} - {name}:
            sides = [self.found.sides.get((owner, side), entering) for side in ("in", "out")]
            for labels in (entering, leaving, *sides):
                self.found.book.keep(labels, f"'{name}' and '{owner}' share weights")

    def functional(self, operands: Any, layer: Callable[[], Weighted], run: Callable[[], Tensor]) -> Tensor | None:
        """Follow a layer whose weight is a bare parameter; None of other calls."""
        weight, found = operands["weight"], self.found
        name = self._state.get(id(weight))
        if self._inside or name is None or weight in self._labels or not isinstance(weight, nn.Parameter):
            return None
        self._inside, self._functional, self._groups = 1, True, {}
        output = run()
        self._functional = False
        found.functional.add(name)
        self._labels[output] = self._leaf(name, layer(), operands["input"], output)
        if operands.get("bias") is not None:
            found.book.join(self.labels(operands["bias"]), found.sides[name, "out"])
        for attribute in self._groups.values():
            self._counts(attribute, found.sides[name, "out"])
        self._inside = 0
        return output

    def _note(self, name: str, side: Side, labels: Tensor) -> Tensor:
        known = self.found.sides.setdefault((name, side), labels)
        self.found.book.join(known, labels)
        return known

    def _counts(self, attribute: Attribute, labels: Tensor) -> None:
        known = self.found.counts.setdefault(attribute, labels)
        if known.shape == labels.shape:
            self.found.book.join(known, labels)
        else:
            for each in (known, labels):
                self.found.book.keep(each, f"'{attribute.name}' counts other channels each time")

    def multiplied(self, queries: Tensor) -> None:
        """Note what queries come of that are to be scaled."""
        rows = next(self._queries, {})
        scaled = any(self._heads.get(kind_of(module), Heads()).scaled for _, module, _ in self._path)
        self._inside += 1  # labels are tensors, too
        if rows and scaled and varies(labels := self.labels(queries), -1):
            self.found.noted.queries.append((first(labels, range(labels.dim() - 1)).flatten(), rows))
        self._inside -= 1

    # Operators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        operator = str(func.overloadpacket.__name__)
        self._mixing += operator in MIXING and not self._inside
        if self._functional and sizes_given(operator, args) is not None:
            driven = self._drivers.of_next(self._path[-1][0])
            self._groups |= driven if operator == "convolution" else {}
        if not self._inside:
            results = tensors_in(output)
            if results:
                for tensor, labels in zip(results, self._operator(func, args, kwargs, results), strict=True):
                    self._labels[tensor] = labels
        return output

    def _operator(self, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> Iterable[Tensor]:
        name = str(func.overloadpacket.__name__)
        book = self.found.book
        tensors = tensors_in((args, kwargs))
        inputs = [self.labels(tensor) for tensor in tensors]
        shape = results[0].shape
        sizes = sizes_given(name, args)
        driven = {} if sizes is None or not self._path else self._drivers.of_next(self._path[-1][0])
        if not inputs or name in NEW:
            return [fixed(result.shape) for result in results]
        if name in SAME or (name in CUTS and shape == inputs[0].shape):
            return [inputs[0]]
        if is_pointwise(func, name):
            return [book.pointwise(inputs, shape)] * len(results)
        if over := map_dimensions(name):
            for dim in range(-over, 0):
                inputs[0] = book.along(inputs[0], dim)
            return [first(inputs[0], range(-over, 0)).expand(shape)] * len(results)
        if (moved_around := rearranged(book, name, args, inputs[0], results[0])) is not None:
            return [moved_around]
        if name in _RULES:
            ruled = _RULES[name](self._seen(name, args, kwargs, results))
            if ruled is not None:
                for dim, attribute in driven.items():  # of a reshape
                    self._parts.count(attribute, ruled[0], dim)
                return ruled
        if name in CUTS and varies(inputs[0], args[1] if len(args) > 1 else 0):
            if sizes is None:
                book.keep(inputs[0], f"{self._where()} takes channels at fixed positions out of its output")
            else:
                self._parts.slice(inputs[0], args[1], sizes, driven, self._where(), plain=len(args) < 5)
        if name in MOVES | CUTS | PARTS:
            moved = tree_flatten(func(*tree_map(self._labels_if_tensor, args), **kwargs))[0]
            if name in PARTS:
                self._split(self._seen(name, args, kwargs, results), inputs[0], moved, driven)
            return [compact(labels) for labels in moved]
        unknown = book.fresh(1)
        where = f"{self._where()}{', outside of a layer' if name == 'convolution' else ''}"
        for labels in (unknown, *inputs):
            book.keep(labels, f"its channels go through {name} in {where}, for which there is no rule")
        return [unknown.reshape((1,) * result.dim()).expand(result.shape) for result in results]

    def _labels_if_tensor(self, value: Any) -> Any:
        return self.labels(value) if isinstance(value, Tensor) else value

    def _seen(self, name: str, args: Any, kwargs: Any, results: list[Tensor]) -> Operator:
        path, module, inputs = self._path[-1] if self._path else ("", None, ())
        place = Place(path, module, self._where(), tensors_in(inputs), self._mixing)
        return Operator(name, args, kwargs, results, self.labels, self.found.book, self.found.noted, place, self._heads)

    def _split(self, seen: Operator, labels: Tensor, parts: list[Tensor], driven: Mapping[int, Attribute]) -> None:
        position, args = 1 if seen.name == "unbind" else 2, seen.args
        dim = int(args[position] if len(args) > position else seen.kwargs.get("dim", 0)) % labels.dim()
        if len(parts) > 1 and varies(labels, dim):
            self._parts.split(labels, dim, parts, driven, self._where())
            if len({part.shape for part in parts}) == 1:
                seen.counted(along_all_but(self.found.book, labels, dim))

    def _where(self) -> str:
        if not self._path or not self._path[-1][0]:
            return "the network's forward"
        name, module, _ = self._path[-1]
        return f"'{name}' ({type(module).__name__})"


def follow(
    model: nn.Module,
    example_input: Any,
    drivers: Drivers | None = None,
    heads: Mapping[str, Heads] | None = None,
    queries: Sequence[Rows] = (),
) -> Followed:
    """Run ``model(example_input)`` once and return what it tells about the channels; the output's channels are kept.

    Args:
        model: a copy that may be hooked, in evaluation mode.
        example_input: what the model takes, a batch of at least one image.
        drivers: the attributes that sizes of its operators come from.
        heads: by kind of module, how its heads are removed; without, widths are.
        queries: the weights that the first operand of every product comes of; see `find_queries`.
    """
    follower = _Follower(model, drivers or Drivers(), heads or {}, queries)
    try:
        calls = LinearCalls(linear_layers(model, is_leaf), follower.called)
        functional, products = FunctionalLayers(follower.functional), FirstOperands(follower.multiplied)
        with torch.no_grad(), attention_by_parts(), follower, functional, calls, products:
            output = model(example_input)
    finally:
        follower.remove_hooks()
    for tensor in tensors_in(output):
        follower.found.book.keep(follower.labels(tensor), "it is the network's output")
    return follower.found
