from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from amc_hw.errors import UnsupportedModelError
from amc_hw.formats.check import output_difference
from amc_hw.formats.export import export
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.template import telling_policies
from amc_hw.formats.tflite.convert import TfliteModel, to_tflite
from amc_hw.policy import Dimension, channel_choices
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import TracedModel

pytest.importorskip("litert_torch")
from amc_hw.formats.tflite.graph import TfliteGraph


def test_template_knows_the_operators_of_any_pruned_network(traced: TracedModel, template: GraphTemplate) -> None:
    policy = draw_policy(traced.choices, np.random.default_rng(5))
    small = shrink(traced.model, traced.network, first_channels(policy))
    exported = TfliteGraph(to_tflite(small, traced.example)).operators()
    assert template.operators(policy) == exported
    assert [template.operator(index, policy) for index in range(len(exported))] == exported


def test_written_file_has_those_operators_and_runs(traced: TracedModel, template: GraphTemplate) -> None:
    from ai_edge_litert.interpreter import Interpreter

    policy = draw_policy(traced.choices, np.random.default_rng(6))
    content = template.file(policy, np.random.default_rng(0))
    assert TfliteGraph(content).operators() == template.operators(policy)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]  # its memory is not cleared
    interpreter.set_tensor(entry["index"], np.ones(entry["shape"], np.float32))
    interpreter.invoke()
    assert np.isfinite(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])).all()


def multipliers(content: bytes) -> list[int]:
    graph = TfliteGraph(content)
    pairs = zip(graph.kinds, graph.subgraph.operators, strict=True)
    return [operator.builtinOptions.depthMultiplier for kind, operator in pairs if kind == "DEPTHWISE_CONV_2D"]


def test_a_convolution_of_grey_images_keeps_its_fast_kernel(traced: TracedModel, template: GraphTemplate) -> None:
    """The converter makes it depthwise, with a multiplier that must follow the channels."""
    policy = {group: counts[0] for group, counts in traced.choices.items()}
    small = shrink(traced.model, traced.network, first_channels(policy))
    written = multipliers(template.file(policy, np.random.default_rng(0)))
    assert written == multipliers(to_tflite(small, traced.example))
    original = multipliers(template.file(traced.network.original, np.random.default_rng(0)))
    assert original == multipliers(to_tflite(traced.model, traced.example)) != written


def test_macs_of_the_file_are_those_of_the_trace(traced: TracedModel, template: GraphTemplate) -> None:
    for seed in range(5):
        policy = draw_policy(traced.choices, np.random.default_rng(seed))
        assert sum(operator.macs for operator in template.operators(policy)) == traced.network.macs(policy)


def test_writing_leaves_the_template_as_it_was(traced: TracedModel, template: GraphTemplate) -> None:
    before = template.operators(traced.network.original)
    template.file({group: counts[0] for group, counts in traced.choices.items()}, np.random.default_rng(0))
    assert template.operators(traced.network.original) == before


def test_exported_file_computes_the_same_with_channels_last_and_no_transpose(traced: TracedModel, tmp_path) -> None:
    images = torch.randn(1, 1, 32, 32)
    export(traced.model, images, tmp_path / "m.tflite")
    content = (tmp_path / "m.tflite").read_bytes()
    assert output_difference(traced.model, TfliteModel(content), images) < 1e-4
    graph = TfliteGraph(content)
    assert graph.operators()[0].inputs[0][1:] in ((32, 32, 1), (34, 34, 1))
    assert "TRANSPOSE" not in graph.kinds


def test_other_networks_graph_is_refused(traced: TracedModel) -> None:
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 900, 10)).eval()
    graphs = [TfliteGraph(to_tflite(model, traced.example)) for model in (traced.model, other)]
    with pytest.raises(UnsupportedModelError, match="changes its operators"):
        GraphTemplate(graphs[0], {}, [(graphs[1], {})], [])


def told_apart(original: dict[str, int], dimensions: list[Dimension]) -> int:
    """Return how many policies tell all dimensions apart, after holding that they do."""
    policies = telling_policies(original, dimensions, np.random.default_rng(0))
    assert all(min(policy.values()) >= min(2, *original.values()) for policy in policies)
    sizes = {(size.at(original), *(size.at(policy) for policy in policies)) for size in dimensions}
    assert len(sizes) == len(dimensions)
    return len(policies)


def test_many_narrow_groups_are_told_apart_by_several_variants() -> None:
    for width, groups, variants in ((16, 10, 1), (8, 20, 2), (4, 20, 3), (3, 60, 6)):
        original = {f"g{i}": width for i in range(groups)}
        assert told_apart(original, [Dimension(0, (group,), (1,)) for group in original]) == variants


def test_narrow_groups_are_told_from_their_concatenations() -> None:
    original = {f"g{i}": 3 + i % 6 for i in range(24)}
    names = list(original)
    pairs = [Dimension(0, pair, (1, 1)) for pair in itertools.pairwise(names)]
    told_apart(original, [*(Dimension(0, (group,), (1,)) for group in names), *pairs])


def test_more_groups_than_several_variants_tell_apart_are_refused_with_a_cure() -> None:
    original = {f"g{i}": 3 for i in range(300)}
    with pytest.raises(UnsupportedModelError, match="exclude="):
        told_apart(original, [Dimension(0, (group,), (1,)) for group in original])


def test_no_group_is_cut_to_one_channel_for_which_converters_write_other_operators() -> None:
    assert [channel_choices(count) for count in (1, 2, 3, 5, 6)] == [(1,), (2,), (2, 3), (2, 3, 4, 5), (2, 3, 4, 5, 6)]
    assert channel_choices(8, lower=0.01)[0] == 2
    assert channel_choices(64, lower=0.01)[0] == 8
