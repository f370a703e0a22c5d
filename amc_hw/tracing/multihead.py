"""PyTorch's multi-head attention as layers: its input weights become linear layers, which can be cut."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from amc_hw.tracing.computed import replace_modules


class PlainAttention(nn.Module):
    """Computes what `torch.nn.MultiheadAttention` computes, with a linear layer for each of its weights.

    Args:
        attention: the module whose weights it takes; one of `multihead_attentions`.
    """

    in_proj_bias = None  # transformers' layers look for it, and call this module where there is none

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.batch_first, self.dropout = attention.num_heads, attention.batch_first, attention.dropout
        if attention.in_proj_weight is None:
            weights = [attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight]
        else:
            weights = list(attention.in_proj_weight.chunk(3))
        biases = [None] * 3 if attention.in_proj_bias is None else list(attention.in_proj_bias.chunk(3))
        self.query, self.key, self.value = map(_linear, weights, biases)
        self.out_proj = _linear(attention.out_proj.weight, attention.out_proj.bias)
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attended values and, where they are asked for, the weights; shapes are PyTorch's."""
        is_batch, batch_axis = query.dim() == 3, 0 if self.batch_first else 1
        if not is_batch:
            query, key, value = (each.unsqueeze(batch_axis) for each in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        q, k, v = self._heads(self.query(query)), self._heads(self.key(key)), self._heads(self.value(value))
        mask = self._mask(q, key_padding_mask, attn_mask)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            weights = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            attended = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if is_batch else weights.squeeze(0)
        else:
            attended = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        output = self.out_proj(attended.transpose(1, 2).flatten(2))
        output = output if self.batch_first else output.transpose(0, 1)
        return (output if is_batch else output.squeeze(batch_axis)), weights

    def _heads(self, x: Tensor) -> Tensor:
        """Return what a linear layer gave as (batch, heads, tokens, width)."""
        x = x if self.batch_first else x.transpose(0, 1)
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _mask(self, q: Tensor, key_padding: Tensor | None, attention: Tensor | None) -> Tensor | None:
        """Return what is added to the scores (batch, heads, tokens, tokens), or what broadcasts to it."""
        masks = []
        if attention is not None:
            masks.append(
                attention.view(-1, self.num_heads, *attention.shape[1:]) if attention.dim() == 3 else attention
            )
        if key_padding is not None:
            masks.append(key_padding[:, None, None])
        added = [_added(each, q.dtype) for each in masks]
        return sum(added[1:], added[0]) if added else None


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask as numbers: what is true is left out."""
    if mask.dtype is not torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    options = {"bias": bias is not None, "device": weight.device, "dtype": weight.dtype}
    layer: nn.Linear = skip_init(nn.Linear, weight.shape[1], weight.shape[0], **options)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def multihead_attentions(model: nn.Module) -> list[nn.MultiheadAttention]:
    """Return PyTorch's own attention modules but for those that add tokens of their own."""
    found = [module for module in model.modules() if type(module) is nn.MultiheadAttention]
    return [each for each in found if each.bias_k is None and not each.add_zero_attn]


def replace_multihead(model: nn.Module) -> int:
    """Replace `multihead_attentions` by layers, in place; return how many."""
    made: dict[nn.Module, nn.Module] = {each: PlainAttention(each) for each in multihead_attentions(model)}
    replace_modules(model, made)
    return len(made)
