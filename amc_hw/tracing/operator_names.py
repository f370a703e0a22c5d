"""What ATen operators do with the channels of their operands, where their names tell."""

from __future__ import annotations

from typing import Any

import torch

# What PyTorch has not tagged as pointwise, without the underscore of the in-place form.
_POINTWISE = {
    "copy",
    "_to_copy",
    "rsub",
    "native_dropout",
    "masked_fill",
    "hardswish",
    "mish",
    "threshold",
    "_prelu_kernel",
}
MOVES = {"permute", "transpose", "t", "expand", "squeeze", "unsqueeze", "stack", "flip", "repeat", "roll"}
PARTS = {"split", "split_with_sizes", "unbind"}
CUTS = {"slice", "select"}
SAME = {"alias", "detach", "lift_fresh"}
NEW = {"empty_like", "zeros_like", "ones_like", "full_like", "new_zeros", "new_empty", "new_full", "new_ones"}


def is_pointwise(func: Any, name: str) -> bool:
    """Tell whether an operator computes each value from the values in its place."""
    plain = name[:-1] if name.endswith("_") else name
    if plain in _POINTWISE or torch.Tag.pointwise in func.tags:
        return True
    packet = getattr(torch.ops.aten, plain, None) if plain != name else None
    return packet is not None and any(torch.Tag.pointwise in getattr(packet, o).tags for o in packet.overloads())
