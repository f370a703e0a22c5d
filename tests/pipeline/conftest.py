"""One tiny network, converted once for all tests here."""

from __future__ import annotations

import pytest
import torch
from tiny import TinyNet

from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import FORMATS
from amc_hw.formats.template import lower
from amc_hw.trace.traced import TracedModel, trace_model


@pytest.fixture(scope="session")
def traced() -> TracedModel:
    torch.manual_seed(0)
    return trace_model(TinyNet(), (1, 32, 32))


@pytest.fixture(scope="session")
def template(traced: TracedModel) -> GraphTemplate:
    pytest.importorskip("litert_torch")
    return lower(traced.model, traced.network, traced.example, FORMATS["tflite"])
