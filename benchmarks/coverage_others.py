"""What Torch-Pruning leaves of a network's MACs with the same share of channels; a network that is not run is a row."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from amc_hw.errors import first_line
from amc_hw.tracing.network import Network

LIMIT_S = 60
"""Of processor time, so that what else runs does not matter."""


def left_by_torch_pruning(
    model: nn.Module, network: Network | None, example: Tensor, macs_of: Callable[[nn.Module, Tensor], int]
) -> dict[str, Any]:
    """Return the share of the MACs that is left, as ``theirs``, or why there is none, as ``theirs_why``.

    Half of the channels of every group go, by magnitude, and those of the network's output stay.

    Args:
        model: the network; it is not changed.
        network: its trace, which says which layers are its output; without one, the last layer is.
        example: its input.
        macs_of: counts MACs.
    """
    try:
        import torch_pruning  # noqa: F401
    except ImportError:
        return {"theirs": None, "theirs_why": "torch-pruning is not installed"}
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        small = _pruned(copy.deepcopy(model), network, example)
        with torch.no_grad():
            shapes = [
                [leaf.shape for leaf in tree_flatten(net(example))[0] if isinstance(leaf, Tensor)]
                for net in (model, small)
            ]
        if shapes[0] != shapes[1]:
            return {"theirs": None, "theirs_why": "outputs of another shape"}
        return {"theirs": round(macs_of(small, example) / macs_of(model, example), 4), "theirs_why": ""}
    except Exception as error:  # whatever another tool raises is what its row says
        return {"theirs": None, "theirs_why": f"{type(error).__name__}: {first_line(error)[:120]}"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _stop(*_: object) -> None:
    raise TimeoutError(f"more than {LIMIT_S} s of processor time")


def _pruned(model: nn.Module, network: Network | None, example: Tensor) -> nn.Module:
    """Prune a network in place, as Torch-Pruning's examples do it."""
    import torch_pruning

    attentions = [m for m in model.modules() if isinstance(getattr(m, "qkv", None), nn.Linear) and _heads(m)]
    torch_pruning.pruner.MetaPruner(
        model,
        example,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=_output_layers(model, network),
        num_heads={attention.qkv: _heads(attention) for attention in attentions},
    ).step()
    for attention in attentions:
        width = attention.qkv.out_features // 3
        for name, value in (("head_dim", width // _heads(attention)), ("attn_dim", width)):
            if hasattr(attention, name):
                setattr(attention, name, value)
    return model


def _heads(module: nn.Module) -> int | None:
    return getattr(module, "num_heads", None)


def _output_layers(model: nn.Module, network: Network | None) -> list[nn.Module]:
    modules = dict(model.named_modules())
    reasons = {} if network is None else network.unprunable
    found = [modules[layer] for layer, reason in reasons.items() if "network's output" in reason]
    layers = [m for m in modules.values() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    return found or layers[-1:]
