"""A graph of ATen calls takes the place of a TFLite one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.aten.convert import AtenModel, to_aten
from amc_hw.formats.aten.graph import AtenGraph
from amc_hw.formats.check import output_difference
from amc_hw.formats.export import export
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.formats.template import lower
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import TracedModel


@pytest.fixture(scope="module")
def aten_template(traced: TracedModel) -> GraphTemplate:
    return lower(traced.model, traced.network, traced.example.expand(4, -1, -1, -1), FORMATS["aten"])


def test_template_knows_the_calls_of_any_pruned_network(traced: TracedModel, aten_template: GraphTemplate) -> None:
    policy = draw_policy(traced.choices, np.random.default_rng(5))
    small = shrink(traced.model, traced.network, first_channels(policy))
    exported = AtenGraph(to_aten(small, traced.example.expand(4, -1, -1, -1))).operators()
    assert aten_template.operators(policy) == exported
    assert [aten_template.operator(index, policy) for index in range(len(exported))] == exported
    assert sum(operator.macs for operator in exported) == 4 * traced.network.macs(policy)


def test_written_file_has_those_calls_and_runs(traced: TracedModel, aten_template: GraphTemplate) -> None:
    policy = draw_policy(traced.choices, np.random.default_rng(6))
    content = aten_template.file(policy, np.random.default_rng(0))
    assert AtenGraph(content).operators() == aten_template.operators(policy)
    outputs = AtenModel(content)(np.random.default_rng(1).random((4, 1, 32, 32), np.float32))
    assert outputs.shape == (4, 10)
    assert np.isfinite(outputs).all()
    assert outputs.std() > 0


def test_groups_of_a_depthwise_convolution_follow_its_channels() -> None:
    def network(channels: int) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, channels, 1), torch.nn.Conv2d(channels, channels, 3, groups=channels)
        ).eval()

    from amc_hw.policy import Dimension

    graphs = [AtenGraph(to_aten(network(channels), torch.zeros(1, 3, 8, 8))) for channels in (16, 11)]
    template = GraphTemplate(graphs[0], {"a": 16}, [(graphs[1], {"a": 11})], [Dimension(0, ("a",), (1,))])
    assert [operator.kind for operator in template.operators({"a": 6})] == ["CONV_2D", "DEPTHWISE_CONV_2D"]
    content = template.file({"a": 6}, np.random.default_rng(0))
    assert AtenModel(content)(np.ones((1, 3, 8, 8), np.float32)).shape == (1, 6, 6, 6)


def test_exported_file_computes_the_same(traced: TracedModel, tmp_path: Path) -> None:
    export(traced.model, traced.example.expand(4, -1, -1, -1), tmp_path / "m.aten")
    assert output_difference(traced.model, load_file(tmp_path / "m.aten"), torch.randn(7, 1, 32, 32)) < 1e-4
    (tmp_path / "m.aten").write_bytes(b"not a network")
    with pytest.raises(UnsupportedModelError, match="ATen"):
        load_file(tmp_path / "m.aten")
    with pytest.raises(UnsupportedModelError, match="ATen"):
        AtenGraph(b"not a network")


def test_parts_of_a_split_are_ranges_of_its_channels(tmp_path: Path) -> None:
    class Narrowed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.widen = torch.nn.Conv2d(1, 8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left, middle, right = self.widen(x).split([1, 2, 5], 1)
            first, second = torch.cat([right, left, middle], 1).chunk(2, dim=1)
            top, bottom = first.split(5, -2)
            return torch.cat([top, (second * 2)[:, :, :3], bottom], 2)

    export(Narrowed().eval(), torch.zeros(2, 1, 8, 8), tmp_path / "m.aten")
    assert AtenGraph((tmp_path / "m.aten").read_bytes()).kinds.count("aten.narrow.default") == 7
