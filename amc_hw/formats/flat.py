"""A network as converters take it: tensors in by place, and one tensor or a tuple of tensors out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from amc_hw.tracing.inputs import tensors_of
from amc_hw.tracing.same import outputs


class _Flat(nn.Module):
    def __init__(self, model: nn.Module, example: Any) -> None:
        super().__init__()
        self.model = model
        self._built = tree_flatten(example)[1]
        self.train(model.training)

    def forward(self, *inputs: Tensor) -> Any:
        given = tensors_of(self.model(tree_unflatten(inputs, self._built)))
        return given[0] if len(given) == 1 else tuple(given)


def flattened(model: nn.Module, example: Any) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a network that takes the tensors of an example by place and gives those of its output, and its inputs.

    One that takes a tensor and gives one is returned itself.

    Args:
        model: on the CPU; its inputs are one value (`amc_hw.tracing.inputs.spread`).
        example: of its inputs.
    """
    inputs = tuple(each.detach().cpu().contiguous() for each in tensors_of(example))
    if isinstance(example, Tensor) and isinstance(outputs(model, inputs[0]), Tensor):
        return model, inputs
    return _Flat(model, example), inputs
