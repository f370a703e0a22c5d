"""PyTorch's passes are short during a conversion, give the same program, and are its own again afterwards."""

from __future__ import annotations

import pytest
import torch
import torch._export.utils as export_utils
import torch.export.exported_program as exported_program
import torch.nn.functional as F
from tiny import TinyNet
from torch import nn
from torch.fx.traceback import NodeSource

from amc_hw.formats import passes
from amc_hw.formats.passes import short_passes


def test_operators_are_looked_up_once_in_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bool] = []
    look_up = export_utils._materialize_cpp_cia_ops

    def counted() -> None:
        looks.append(True)
        look_up()

    monkeypatch.setattr(export_utils, "_materialize_cpp_cia_ops", counted)
    monkeypatch.setattr(passes, "_LOOK_UP", counted)
    program = torch.export.export(TinyNet().eval(), (torch.zeros(1, 1, 32, 32),))

    looks.clear()
    with short_passes():
        once = str(program.run_decompositions())
    assert looks == [True]
    with pytest.raises(ZeroDivisionError), short_passes():
        raise ZeroDivisionError
    looks.clear()
    assert str(program.run_decompositions()) == once
    assert len(looks) > 1


def test_passes_compute_the_same_and_are_whole_again_afterwards() -> None:
    class Products(nn.Module):
        """Has operators that PyTorch breaks up, and numbers that it computes while it traces."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = F.scaled_dot_product_attention(x, x, x) + torch.arange(4.0).cumsum(0)
            return torch.einsum("bij,bkj->bik", F.layer_norm(scores, (4,)), x)

    example = (torch.randn(2, 3, 4),)
    program = torch.export.export(Products(), example)
    keys, sources = list(exported_program._BACKEND_KEYS_TO_OVERRIDE), vars(NodeSource).copy()
    with short_passes():
        assert len(exported_program._BACKEND_KEYS_TO_OVERRIDE) == 2
        short = program.run_decompositions().run_decompositions()
    long = program.run_decompositions().run_decompositions()
    assert str(short) == str(long)
    assert torch.equal(short.module()(*example), long.module()(*example))
    assert keys == exported_program._BACKEND_KEYS_TO_OVERRIDE
    assert vars(NodeSource) == sources
    histories = [[node.meta.get("from_node") for node in each.graph.nodes] for each in (short, long)]
    assert [len(str(each)) for each in histories[0]] == [len(str(each)) for each in histories[1]]
