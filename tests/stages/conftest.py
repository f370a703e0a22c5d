"""One tiny network, converted once for all tests here."""

from __future__ import annotations

import pytest
import torch
from tiny import TinyNet

from amc_hw.export.formats import FORMATS
from amc_hw.latency.graph import GraphTemplate
from amc_hw.lowering import lower
from amc_hw.stages.subject import Traced, trace_subject


@pytest.fixture(scope="session")
def traced() -> Traced:
    torch.manual_seed(0)
    return trace_subject(TinyNet(), (1, 32, 32))


@pytest.fixture(scope="session")
def template(traced: Traced) -> GraphTemplate:
    pytest.importorskip("litert_torch")
    return lower(traced.model, traced.network, traced.example, FORMATS["tflite"])
