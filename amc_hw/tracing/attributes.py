"""Integer attributes of modules that follow a cut: the sizes by which a forward splits, slices or reshapes.

``x.split([self.dim, self.rest], 1)`` needs other sizes once channels are gone. An attribute is not taken for such a
size because it has its value: its module runs again with the attribute one larger, and where what the operator is
given grows by one with it, the size comes from there. That the network can then be cut is proven as for all channels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

_TAKING = {"slice", "split", "split_with_sizes"}

Sizes = tuple[int, ...]
"""The sizes that an operator is given, always in the same order; see `sizes_given`."""


@dataclass(frozen=True)
class Attribute:
    """An integer that a module holds: as an attribute, or at a place of a tuple or list of integers.

    Attributes:
        name: dotted, of the module and the attribute, as parameters are named.
        place: of a tuple or list; 0 of a single integer.
    """

    name: str
    place: int = 0


def is_attribute(modules: Mapping[str, nn.Module], name: str) -> bool:
    """Tell whether a dotted name is that of integers, and not of a module or a tensor."""
    parent, _, leaf = name.rpartition(".")
    value = vars(modules[parent]).get(leaf) if name not in modules else None
    return isinstance(value, int | tuple | list)


def value_of(modules: Mapping[str, nn.Module], attribute: Attribute) -> int:
    """Return an attribute's value."""
    parent, _, leaf = attribute.name.rpartition(".")
    value = getattr(modules[parent], leaf)
    return int(value if isinstance(value, int) else value[attribute.place])


def set_value(modules: Mapping[str, nn.Module], attribute: Attribute, value: int) -> None:
    """Give an attribute another value."""
    parent, _, leaf = attribute.name.rpartition(".")
    before = getattr(modules[parent], leaf)
    if isinstance(before, int):
        setattr(modules[parent], leaf, value)
    else:
        changed = [*before[: attribute.place], value, *before[attribute.place + 1 :]]
        setattr(modules[parent], leaf, type(before)(changed))


def attributes_of(name: str, module: nn.Module) -> Iterator[Attribute]:
    """Yield a module's own integers."""
    for key, value in vars(module).items():
        if key.startswith("_") or isinstance(value, bool):
            continue
        dotted = f"{name}.{key}" if name else key
        if isinstance(value, int):
            yield Attribute(dotted)
        elif type(value) in (tuple, list) and value and all(type(each) is int for each in value):
            yield from (Attribute(dotted, place) for place in range(len(value)))


def sizes_given(operator: str, args: Any) -> Sizes | None:
    """Return the sizes that an ATen operator is given; None of operators that are not looked at.

    These are: of a slice, start, length and stop (none, where it takes everything); of a split, the size of each
    part, or all; of a view, the shape; of a convolution, its groups.
    """
    if operator == "alias":
        return ()
    if operator == "slice":
        given = [*args, *(None, 0, None, None)[len(args) :]]
        start, stop, _ = slice(given[2], given[3]).indices(args[0].shape[given[1]])
        return (start, stop - start, stop)
    if operator in ("split", "split_with_sizes", "view", "_unsafe_view", "reshape"):
        return (int(args[1]),) if isinstance(args[1], int) else tuple(map(int, args[1]))
    if operator == "convolution":
        return (int(args[8]),)
    return None


@dataclass
class Calls:
    """What modules did in their first calls: what they took, and the operators of their own forwards with sizes."""

    taken: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    given: dict[str, list[tuple[str, Sizes]]] = field(default_factory=dict)


class Drivers:
    """The attributes that the sizes of operators come from.

    Args:
        found: by module, for each operator with sizes in its own forward, in order: place of a size -> attribute.
    """

    def __init__(self, found: Mapping[str, list[dict[int, Attribute]]] | None = None) -> None:
        self._found = found or {}
        self._next: dict[str, int] = {}

    def enter(self, module: str) -> None:
        """Note that a module is called."""
        self._next[module] = 0

    def of_next(self, module: str) -> dict[int, Attribute]:
        """Return the attributes of the next operator with sizes in a module's own forward."""
        number = self._next.get(module, 0)
        self._next[module] = number + 1
        found = self._found.get(module, [])
        return found[number] if number < len(found) else {}


def find_drivers(model: nn.Module, example_input: Any, is_leaf: Callable[[nn.Module], bool]) -> Drivers:
    """Return the attributes that the sizes of operators come from.

    Args:
        model: in evaluation mode; it is not changed.
        example_input: what it takes.
        is_leaf: tells modules whose inside is not looked at.
    """
    model = copy.deepcopy(model)
    modules = dict(model.named_modules())
    calls = _run(model, "", is_leaf, (example_input,), {})
    found = {}
    for name, given in calls.given.items():

        def probe(name: str = name) -> list[tuple[str, Sizes]]:
            return _run(modules[name], name, is_leaf, *calls.taken[name]).given.get(name, [])

        found[name] = _drivers_of(modules, name, given, probe)
    return Drivers(found)


def _drivers_of(
    modules: Mapping[str, nn.Module],
    name: str,
    given: list[tuple[str, Sizes]],
    probe: Callable[[], list[tuple[str, Sizes]]],
) -> list[dict[int, Attribute]]:
    """Return for each operator of a module's forward what its sizes come from; ``probe`` runs the module again."""
    sizes = {size for _, each in given for size in each if size > 1}
    found: list[dict[int, Attribute]] = [{} for _ in given]
    guessed: list[dict[int, list[Attribute]]] = [{} for _ in given]
    for attribute in attributes_of(name, modules[name]):
        value = value_of(modules, attribute)
        if value not in sizes:
            continue
        set_value(modules, attribute, value + 1)
        try:
            probed = probe()
        finally:
            set_value(modules, attribute, value)
        for number, grown in enumerate(_grown(given, probed, value)):
            for place in grown:
                if number < len(probed):
                    found[number][place] = attribute
                else:
                    guessed[number].setdefault(place, []).append(attribute)
    for seen, guesses in zip(found, guessed, strict=True):
        for place, attributes in guesses.items():
            if len(attributes) == 1:  # of several that are as large, none can be told apart
                seen.setdefault(place, attributes[0])
    return found


def _grown(before: list[tuple[str, Sizes]], after: list[tuple[str, Sizes]], value: int) -> list[list[int]]:
    """Return for every operator the places of its sizes that had a value and grew with it by one.

    Where a module stopped at the other size, having used it, the sizes of that value that slices and splits behind have
    are taken for the same. Sizes of views are not: they count batches, heads and positions as well.
    """
    grown: list[list[int]] = []
    for number, (kind, had) in enumerate(before):
        equal = [place for place, size in enumerate(had) if size == value]
        if number < len(after):
            kind_now, has = after[number]
            comparable = kind == kind_now and len(had) == len(has)
            grown.append([place for place in equal if comparable and has[place] == value + 1])
        else:
            grown.append(equal if any(grown) and kind in _TAKING else [])
    return grown


def _run(model: nn.Module, name: str, is_leaf: Callable[[nn.Module], bool], args: Any, kwargs: Any) -> Calls:
    """Return what a module of that name, and those in it, do, as far as it runs."""
    watcher = _Watcher(model, name, is_leaf)
    try:
        with torch.no_grad(), watcher:
            model(*args, **kwargs)
    except Exception:  # whatever a forward raises that is given another size
        return watcher.calls
    finally:
        watcher.remove_hooks()
    return watcher.calls


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, model: nn.Module, prefix: str, is_leaf: Callable[[nn.Module], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = Calls()
        self._path: list[str] = []
        self._known: set[str] = set()
        self._inside = 0
        self._is_leaf = is_leaf
        self._hooks: list[RemovableHandle] = []
        for inner, module in model.named_modules():
            name = ".".join(filter(None, (prefix, inner)))
            self._hooks.append(module.register_forward_pre_hook(self._enter(name), with_kwargs=True))
            self._hooks.append(module.register_forward_hook(self._leave))

    def remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            first = name not in self._known
            self._known.add(name)
            self._path.append(name if first else "another call")
            self._inside += self._is_leaf(module)
            if first and any(True for _ in attributes_of(name, module)):
                self.calls.taken[name] = (args, kwargs)

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._inside -= self._is_leaf(module)
        name = self._path.pop()
        if name not in self.calls.given:
            self.calls.taken.pop(name, None)  # activations take memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sizes = sizes_given(str(func.overloadpacket.__name__), args) if not self._inside and self._path else None
        if sizes is not None and self._path[-1] in self.calls.taken:
            self.calls.given.setdefault(self._path[-1], []).append((_kind(func), sizes))
        return func(*args, **(kwargs or {}))


def _kind(func: Any) -> str:
    name = str(func.overloadpacket.__name__)
    return "slice" if name == "alias" else name
