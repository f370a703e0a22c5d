"""PyTorch looks its operators up once for a conversion, and as often as it likes afterwards."""

from __future__ import annotations

import pytest
import torch
import torch._export.utils as export_utils
from tiny import TinyNet

from amc_hw.formats import operators_once
from amc_hw.formats.operators_once import operators_looked_up_once


def test_operators_are_looked_up_once_in_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bool] = []
    look_up = export_utils._materialize_cpp_cia_ops

    def counted() -> None:
        looks.append(True)
        look_up()

    monkeypatch.setattr(export_utils, "_materialize_cpp_cia_ops", counted)
    monkeypatch.setattr(operators_once, "_LOOK_UP", counted)
    program = torch.export.export(TinyNet().eval(), (torch.zeros(1, 1, 32, 32),))

    looks.clear()
    with operators_looked_up_once():
        once = str(program.run_decompositions())
    assert looks == [True]
    with pytest.raises(ZeroDivisionError), operators_looked_up_once():
        raise ZeroDivisionError
    looks.clear()
    assert str(program.run_decompositions()) == once
    assert len(looks) > 1
