"""Networks with plain weights: what computes its weights in every forward pass is replaced by a layer that has them.

Weights that are normalised or standardised are constants once a network is trained, and the network that has them
computes the same. Every replacement is held against the original by numbers, and where they differ it is not made.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._pytree import tree_flatten, tree_map

from amc_hw.tracing.computed import layers_with_own_forward, replace_computed
from amc_hw.tracing.inputs import repeated
from amc_hw.tracing.kinds import Weighted
from amc_hw.tracing.multihead import multihead_attentions, replace_multihead
from amc_hw.tracing.same import SEVERAL, computes_the_same, random_like

_Model = TypeVar("_Model", bound=nn.Module)
_OFFERS = ("reparameterize", "switch_to_deploy", "fuse_convs", "fuse")
"""Methods by which networks, or their blocks, merge branches that are one layer after training."""


@dataclass
class _Rewriting:
    """A network as far as it is rewritten, and what was done to it."""

    model: nn.Module
    example: Any
    done: list[str] = field(default_factory=list)

    def attempt(self, change: Callable[[nn.Module], int], text: str, *, merges: bool = False) -> None:
        """Keep what a function does to a copy, if it did anything, computes the same, and merges layers if it should.

        What merges layers must give the same kind of results while it learns, too: heads for training alone stay.

        Args:
            change: changes a network in place and returns how many layers or blocks it has changed.
            text: what it does, for people; with ``{}`` for their number.
            merges: whether fewer layers must be left.
        """
        try:
            changed = copyable_copy(self.model).eval()
            count = change(changed)
        except Exception:  # whatever a method of somebody's network raises
            return
        fewer = _layers(changed) < _layers(self.model)
        if not count or (merges and not (fewer and _learn_alike(self.model, changed, self.example))):
            return
        if computes_the_same(self.model, changed, self.example):
            self.model = changed
            self.done.append(text.format(count))


@torch.random.fork_rng(devices=())
@torch.enable_grad()  # without, weights that are computed would be no parameters afterwards
def with_plain_weights(model: nn.Module, example_input: Any) -> tuple[nn.Module, str]:
    """Return a network whose layers have their weights, and what was done for it, a sentence.

    Branches that the network offers to merge (``reparameterize()``, ``switch_to_deploy()``, ``fuse()``) are merged;
    parametrizations, weight norm and spectral norm are removed, layers whose forward computes other weights than they
    hold are replaced by plain ones, and the input weights of `torch.nn.MultiheadAttention` become linear layers.

    Args:
        model: the network; it is not changed.
        example_input: what it takes; only its shape counts.

    Returns:
        The network itself and an empty sentence, where there is nothing to do.
    """
    was_training = model.training
    work = _Rewriting(model, tree_map(random_like, example_input))
    for name in _OFFERS:
        for innermost in (False, True):
            if _offering(work.model, name, innermost):
                text = f"the network's own {name}() merged branches in {{}} of its modules"
                work.attempt(lambda changed, n=name, i=innermost: _call(changed, n, i), text, merges=True)  # type: ignore[misc]
    if any(parametrize.is_parametrized(module) for module in model.modules()):
        work.attempt(_remove_parametrizations, "the parametrizations of {} layers are removed")
    if any(_norm_hooks(module) for module in model.modules()):
        work.attempt(_remove_norm_hooks, "weight or spectral norms of {} layers are removed")
    if layers_with_own_forward(work.model):
        text = "{} layers that compute their weights in forward have these weights now"
        work.attempt(lambda changed: replace_computed(changed, work.example), text)
    if multihead_attentions(work.model):
        work.attempt(replace_multihead, "the weights of {} attention modules are in layers of their own now")
    if not work.done:
        return model, ""
    for parameter in work.model.parameters():
        parameter.requires_grad_(True)
    return work.model.train(was_training), f"{'; '.join(work.done)}; the network computes the same as before."


def copyable_copy(model: _Model) -> _Model:
    """Return a copy, also of a network with old weight norms, whose weights are no leaves."""
    for module in model.modules():
        for hook in _norm_hooks(module):
            vars(module)[hook.name] = getattr(module, hook.name).detach()  # is computed anew in the next forward pass
    return copy.deepcopy(model)


def _learn_alike(model: nn.Module, changed: nn.Module, example: Any) -> bool:
    """Tell whether two networks give results of the same structure and shapes in training mode.

    Where the first one does not run so, it is not known, and they are taken to.
    """
    try:
        wanted = _learning_results(model, example)
    except Exception:  # whatever a forward raises
        return True
    try:
        return _learning_results(changed, example) == wanted
    except Exception:
        return False


def _learning_results(model: nn.Module, example: Any) -> tuple[Any, list[Any]]:
    """Return the structure of what a network gives in training mode, and the shapes of its tensors."""
    with torch.no_grad():
        leaves, built = tree_flatten(copyable_copy(model).train()(repeated(example, SEVERAL)))
    return built, [leaf.shape if isinstance(leaf, Tensor) else leaf for leaf in leaves]


def _layers(model: nn.Module) -> int:
    return sum(isinstance(module, Weighted) for module in model.modules())


def _offering(model: nn.Module, name: str, innermost: bool) -> list[nn.Module]:
    """Return the modules with a method of that name that needs no arguments: the outermost, or those with no other."""
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        method = getattr(type(module), name, None)
        if not callable(method):
            continue
        needed = [p for p in list(inspect.signature(method).parameters.values())[1:] if p.default is p.empty]
        if not [p for p in needed if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]:
            found[path] = module
    if innermost:
        return [m for path, m in found.items() if not any(_is_inside(other, path) for other in found)]
    return [m for path, m in found.items() if not any(_is_inside(path, other) for other in found)]


def _is_inside(path: str, other: str) -> bool:
    return path != other and (not other or path.startswith(f"{other}."))


def _call(model: nn.Module, name: str, innermost: bool) -> int:
    offering = _offering(model, name, innermost)
    for module in offering:
        getattr(module, name)()
    return len(offering)


def _remove_parametrizations(model: nn.Module) -> int:
    model.requires_grad_(True)  # or what is made of frozen parameters would be no parameter
    found = [module for module in model.modules() if parametrize.is_parametrized(module)]
    for module in found:
        own = type(module)  # which copies share, and which loses its properties below
        names = {key: value for key, value in vars(own).items() if key not in ("__dict__", "__weakref__")}
        module.__class__ = type(own.__name__, own.__bases__, names)
        for name in list(module.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return len(found)


def _norm_hooks(module: nn.Module) -> list[Any]:
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WeightNorm | SpectralNorm)]


def _remove_norm_hooks(model: nn.Module) -> int:
    count = 0
    for module in model.modules():
        for hook in _norm_hooks(module):
            remove = remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm
            remove(module, hook.name)
            count += 1
    return count
