"""What has to hold of a network's weights before anything is made of them: they are its own, and numbers."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.tracing.same import outputs


def require_numbers(model: nn.Module) -> None:
    """Raise UsageError where weights or statistics of a network are NaN, as after a training that diverged."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    if broken := [name for name, tensor in tensors if tensor.isnan().any()]:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UsageError(f"'{broken[0]}'{more} of the network hold NaN; give the weights of a training that went well.")


def require_own_weights(model: nn.Module, example: Any) -> None:
    """Raise UnsupportedModelError where a copy of a network computes with weights that the copy does not have.

    A function that was kept in a network (``self.act = lambda x: self.layer(x)``) goes on to call the layers of the
    network that it was made in; layers in a plain list are in no checkpoint. What is pruned, trained or loaded would
    not be what computes.

    Args:
        model: a copy of the user's network, in evaluation mode, that runs.
        example: what it takes.
    """
    seen = _weights_used(model, example)
    own = {id(each) for each in model.parameters()}
    foreign = {number: each for number, each in seen.items() if number not in own}
    if foreign and (there_before := foreign.keys() & _weights_used(model, example).keys()):  # not made in each forward
        shape = "x".join(map(str, foreign[next(iter(there_before))].shape))
        raise UnsupportedModelError(
            f"the network computes with a weight ({shape}) that is not among its parameters, so that it would be in no "
            "checkpoint and no copy; make functions like self.f = lambda x: self.layer(x) methods, and lists of layers "
            "nn.ModuleList."
        )


def _weights_used(model: nn.Module, example: Any) -> dict[int, nn.Parameter]:
    used = _Weights()
    with used:
        outputs(model, example)
    return used.found


class _Weights(TorchFunctionMode):
    """Notes the parameters that functions are given."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, nn.Parameter] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, and note its parameters."""
        given = tree_leaves((args, kwargs))
        self.found.update((id(each), each) for each in given if isinstance(each, nn.Parameter))
        return func(*args, **(kwargs or {}))
