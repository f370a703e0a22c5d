"""An exported file that behaves like the network it was made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.registry import FileModel
from amc_hw.tracing.inputs import in_order, tensors_of


class FileNetwork(nn.Module):
    """Runs a file, on the CPU; called as the network is, it returns what the network returns. It cannot learn.

    Args:
        file: what runs the file.
        example: one input of the network, in a batch of its own.
        like: what the network gives for it.
    """

    def __init__(self, file: FileModel, example: Any, like: Any) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # tells who asks for it where to put inputs
        self._file = file
        self._example = example
        self._like = like
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the file gives, in the network's structure.

        Raises:
            UsageError: it is called in another way than with the example's inputs.
            UnsupportedModelError: the file gives something else than the network, or does not run.
        """
        given = zip(in_order(args, kwargs, self._example), tensors_of(self._example), strict=True)
        inputs = [tensor.detach().cpu().to(like.dtype).numpy() for tensor, like in given]
        outputs = self._file.outputs(inputs)
        leaves, built = tree_flatten(self._like)
        if len(outputs) != sum(isinstance(leaf, Tensor) for leaf in leaves):
            raise UnsupportedModelError(f"the file gives {len(outputs)} outputs where the network gives others.")
        found = iter(outputs)
        shaped = [_shaped(next(found), leaf, len(inputs[0])) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        return tree_unflatten(shaped, built)


def _shaped(output: np.ndarray, leaf: Tensor, size: int) -> Tensor:
    """Return an output in the network's shape: a file may have dropped a dimension of one."""
    tensor = torch.from_numpy(np.ascontiguousarray(output)).to(leaf.dtype)
    wanted = (size, *leaf.shape[1:])
    return tensor.reshape(wanted) if tensor.numel() == torch.Size(wanted).numel() else tensor
