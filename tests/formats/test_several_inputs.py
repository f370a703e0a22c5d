"""Files of networks that take several inputs and give several outputs, in every precision of every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from several import Captions, Pair, captions, pairs
from small_nets import learned
from torch import nn
from torch.utils._pytree import tree_map
from writers import available

pytest.importorskip("litert_torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from amc_hw.errors import UsageError
from amc_hw.formats.export import export
from amc_hw.formats.file_network import FileNetwork
from amc_hw.formats.registry import FORMATS, load_file
from amc_hw.formats.template import lower
from amc_hw.policy import Precision
from amc_hw.profiling.plan import draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.quantize.simulated import BITS, Simulated
from amc_hw.tracing.inputs import spread, taken, tensors_of
from amc_hw.tracing.traced import trace_example

WRITTEN: list[tuple[str, Precision]] = [
    (name, precision) for name, kind in FORMATS.items() if name != "aten" for precision in kind.precisions
]
NETWORKS = [(Pair, pairs), (Captions, captions)]
NOISE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 0.001, "int8-dynamic": 0.01}
"""Of outputs, as a share of their range; where activations are rounded, the simulation says how much it is."""
MORE_NOISE = 1.25
"""A file's, as a multiple of the simulation's: runtimes round the same numbers in other places."""


def noise(given: Any, wanted: Any) -> list[float]:
    """Return the root mean square difference of every output as a share of its range."""
    return [
        float((one - other).square().mean().sqrt() / (other.max() - other.min()))
        for one, other in zip(tensors_of(given), tensors_of(wanted), strict=True)
    ]


def are_alike(given: Any, wanted: Any) -> bool:
    """Tell whether every output follows the one that is wanted."""
    pairs = zip(tensors_of(given), tensors_of(wanted), strict=True)
    return all(
        float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) > 0.98 for one, other in pairs
    )


def called(network: nn.Module, inputs: Any) -> Any:
    with torch.no_grad():
        return network(**inputs) if isinstance(inputs, dict) else network(*inputs)


@pytest.mark.parametrize(("file_format", "precision"), WRITTEN)
@pytest.mark.parametrize(("network", "drawn"), NETWORKS)
def test_a_file_gives_what_its_network_gives_in_the_same_structure(
    network: Any, drawn: Any, file_format: str, precision: Precision, tmp_path: Path
) -> None:
    available(file_format)
    torch.manual_seed(0)
    model, seen, new = learned(network()), drawn(64, 0), drawn(32, 1)
    expected, example = called(model, new), taken(seen, slice(1))
    file = tmp_path / f"m.{file_format}"
    export(spread(model, example), example, file, precision, seen)
    given = called(FileNetwork(load_file(file), example, taken(expected, slice(1))), new)
    assert tree_map(lambda each: each.shape, given) == tree_map(lambda each: each.shape, expected)
    if (file_format, precision) == ("pte", "int8"):  # whose ranges are those of a quantizer that is not simulated
        assert are_alike(given, expected)
    elif precision in BITS:
        simulated = called(Simulated(spread(model, example), seen, precision), new)
        assert max(noise(given, expected)) <= MORE_NOISE * max(noise(simulated, expected))
    else:
        assert max(noise(given, expected)) <= NOISE[precision]


@pytest.mark.parametrize("precision", list(BITS))
@pytest.mark.parametrize(("network", "drawn"), NETWORKS)
def test_the_simulation_is_near_to_the_file(network: Any, drawn: Any, precision: Precision) -> None:
    seen, new = drawn(64, 0), drawn(64, 1)
    example = taken(seen, slice(1))
    model = spread(learned(network()), example)
    kind = FORMATS["tflite"].in_precision(precision, seen)
    written = kind.load(kind.convert(model, example)).outputs([each.numpy() for each in tensors_of(new)])
    simulated = Simulated(model, seen, precision)
    with torch.no_grad():
        plain, rounded = tensors_of(model(new)), tensors_of(called(simulated, new))
        assert all(torch.equal(one, other) for one, other in zip(rounded, tensors_of(simulated(new)), strict=True))
    for mine, theirs, exact in zip(rounded, written, plain, strict=True):
        off, rounding = (float((each - torch.from_numpy(theirs).reshape(each.shape)).std()) for each in (mine, exact))
        assert off <= 0.75 * rounding


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "pte"])
def test_written_files_have_the_sizes_of_quantized_ones_and_run(file_format: str) -> None:
    seen = captions(32, 0)
    trained = trace_example(learned(Captions()), taken(seen, slice(1)))
    kind = available(file_format).in_precision("int8", seen)
    template = lower(trained.model, trained.network, trained.example, kind)
    policy = draw_policy(trained.choices, np.random.default_rng(3))
    content = template.file(policy, np.random.default_rng(0))
    exported = kind.read(kind.convert(shrink(trained.model, trained.network, first_channels(policy)), trained.example))
    assert kind.read(content).uses() == exported.uses()
    given = kind.load(content).outputs([each.numpy() for each in tensors_of(trained.example)])
    assert all(np.isfinite(each).all() for each in given)


@pytest.mark.parametrize("file_format", ["tflite", "onnx", "pte"])
def test_inputs_have_scales_of_their_own(file_format: str, tmp_path: Path) -> None:
    """With one scale for both, the second input's values would be rounded to none, and the second output made of it."""
    torch.manual_seed(0)
    picture, numbers = pairs(64, 0)
    seen = (1000 * picture, 0.01 * numbers)
    model = learned(Pair())
    with torch.no_grad():
        model.eyes[0].weight.mul_(0.001)
        model.hand[0].weight.mul_(100)
    example = taken(seen, slice(1))
    expected = called(model, seen)
    available(file_format)
    export(spread(model, example), example, tmp_path / f"m.{file_format}", "int8", seen)
    file = FileNetwork(load_file(tmp_path / f"m.{file_format}"), example, taken(expected, slice(1)))
    for network in (file, Simulated(spread(model, example), seen)):
        assert are_alike(called(network, seen), expected)


def test_a_call_in_another_way_is_told_in_a_sentence() -> None:
    seen = pairs(16, 0)
    simulated = Simulated(spread(learned(Pair()), seen), seen)
    with pytest.raises(UsageError, match="called with 1 tensors by place and takes 2"):
        simulated(seen[0])
