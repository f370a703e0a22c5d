"""Batch-norms folded into the convolutions before them: the same function, computed faster."""

from __future__ import annotations

import copy

from torch import nn


def folded(model: nn.Module) -> nn.Module:
    """Return an evaluation copy without the batch-norms that follow a convolution.

    A network that PyTorch's FX cannot follow (control flow in its forward) is copied as it is.
    """
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    try:
        from torch.fx.experimental.optimization import fuse

        return fuse(frozen).eval().requires_grad_(False)
    except Exception:  # FX raises whatever the network's own code raises when it is traced
        return frozen
