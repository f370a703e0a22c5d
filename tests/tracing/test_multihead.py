"""PyTorch's multi-head attention in layers of its own computes the same, and loses heads as any other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cut_check import Net, check_cuts
from torch import Tensor, nn

from amc_hw.tracing.groups import trace
from amc_hw.tracing.multihead import PlainAttention, multihead_attentions
from amc_hw.tracing.plain import with_plain_weights

TOKENS, OTHERS, WIDTH, HEADS = 5, 7, 16, 4


def tokens(count: int, width: int, batch: int | None, *, first: bool) -> Tensor:
    shape = (batch, count) if first else (count, batch)
    return torch.randn(*(size for size in shape if size is not None), width)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("batch", [3, None])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 6, "vdim": 10}], ids=str)
@pytest.mark.parametrize(
    "call",
    [
        {},
        {"need_weights": False},
        {"average_attn_weights": False},
        {"attn_mask": torch.ones(TOKENS, OTHERS).tril(2) == 0, "need_weights": False},
        {"attn_mask": torch.linspace(-2, 0, TOKENS * OTHERS).view(TOKENS, OTHERS)},
        {"attn_mask": "of each head"},
        {"key_padding_mask": "last", "need_weights": False},
    ],
    ids=str,
)
@torch.no_grad()
def test_it_gives_what_pytorch_gives(first: bool, batch: int | None, options: Any, call: dict[str, Any]) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=first, **options).eval()
    for parameter in attention.parameters():
        parameter.normal_()  # biases are zero in a new one
    inputs = [
        tokens(count, options.get(size, WIDTH), batch, first=first)
        for count, size in ((TOKENS, ""), (OTHERS, "kdim"), (OTHERS, "vdim"))
    ]
    call = dict(call)
    if call.get("attn_mask") == "of each head":
        call["attn_mask"] = torch.randn((batch or 1) * HEADS, TOKENS, OTHERS)
    if "key_padding_mask" in call:
        padded = (torch.arange(OTHERS) == OTHERS - 1).expand(batch or 1, -1)
        call["key_padding_mask"] = padded if batch else padded[0]
    expected, plain = attention(*inputs, **call), PlainAttention(attention)(*inputs, **call)
    for one, other in zip(expected, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape
            assert torch.allclose(one, other, atol=1e-5)


class Encoder(nn.Module):
    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=batch_first)
        self.blocks, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2)
        x = self.blocks(x.permute(0, 2, 1) if self.batch_first else x.permute(2, 0, 1))
        return self.head(x.mean(1 if self.batch_first else 0))  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_of_pytorchs_layers_loses_heads(batch_first: bool) -> None:
    torch.manual_seed(0)
    model, images = Encoder(batch_first=batch_first).eval(), torch.rand(1, 3, 16, 16)
    plain, note = with_plain_weights(model, images)
    assert "2 attention modules" in note
    network = trace(plain, images)
    assert list(network.original.values()) == [WIDTH, HEADS, 32, HEADS, 32]


@pytest.mark.parametrize("need_weights", [True, False])
def test_heads_are_cut_at_the_predicted_cost(need_weights: bool) -> None:
    torch.manual_seed(0)

    def forward(model: Any, x: Tensor) -> Tensor:
        x = model.patches(x).flatten(2).transpose(1, 2)
        return model.attention(x, x, x, need_weights=need_weights)[0].mean(1)  # type: ignore[no-any-return]

    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    model, images = (
        Net(forward, patches=nn.Conv2d(1, WIDTH, 4, 4), attention=attention).eval(),
        torch.rand(2, 1, 16, 16),
    )
    plain, _ = with_plain_weights(model, images[:1])
    check_cuts(plain, images, {"patches": WIDTH, "attention.query": HEADS})


def test_attention_that_adds_tokens_is_left_alone() -> None:
    assert multihead_attentions(nn.MultiheadAttention(WIDTH, HEADS)) != []
    assert multihead_attentions(nn.MultiheadAttention(WIDTH, HEADS, add_bias_kv=True)) == []
    assert multihead_attentions(nn.MultiheadAttention(WIDTH, HEADS, add_zero_attn=True)) == []
