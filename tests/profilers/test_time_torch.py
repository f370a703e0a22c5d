"""What of the GPU's profiler program runs without a GPU: networks of ATen calls, the profile's reading, its refusal."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from computer_fixtures import small_aten

from amc_hw.formats.aten.stored import rounded
from amc_hw.policy import as_precision

PROFILERS = Path(__file__).parents[2] / "profilers"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("time_torch", PROFILERS / "time_torch.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_runs_in_any_layout_and_names_its_calls(program: ModuleType, channels_last: bool) -> None:
    network = program.Network(io.BytesIO(small_aten()), "cpu", channels_last)
    images = network.placed(torch.rand(network.input_shape))
    expected = torch.nn.functional.conv2d(images, network.weights["filters"], padding=1).mean((2, 3))
    called: list[str] = []

    class Around:
        def __init__(self, name: str) -> None:
            called.append(name)

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    torch.testing.assert_close(network(images, Around), expected)
    assert called == ["conv2d", "mean"]
    assert images.is_contiguous(memory_format=torch.channels_last) == channels_last


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_network_computes_in_the_precision_of_its_file(program: ModuleType, precision: str) -> None:
    content, kind = small_aten(), {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    network = program.Network(io.BytesIO(rounded(content, as_precision(precision), np.empty(0))), "cpu", False)
    images = torch.rand(network.input_shape)
    filters = program.Network(io.BytesIO(content), "cpu", False).weights["filters"].to(kind)
    torch.testing.assert_close(network.weights["filters"], filters, rtol=0, atol=0)
    expected = torch.nn.functional.conv2d(images.to(kind), filters, padding=1).mean((2, 3))
    assert expected.dtype == kind
    torch.testing.assert_close(network(network.placed(images)), expected)


def test_only_operators_of_aten_are_called(program: ModuleType) -> None:
    for name in ("os.system.default", "aten.no_such_operator.default", "aten.__class__.__init__"):
        content = io.BytesIO()
        graph = {"input": "x", "output": "y", "shapes": {"x": [1]}, "weights": []}
        graph["calls"] = [{"name": "y", "op": name, "args": []}]
        np.savez(content, graph=np.frombuffer(json.dumps(graph).encode(), np.uint8))
        content.seek(0)
        with pytest.raises(ValueError, match="no operator"):
            program.Network(content, "cpu", False)


def test_ranges_of_the_profile_become_kernels(program: ModuleType) -> None:
    ranges = [("conv2d", 5.0), ("view", 0.0), ("linear", 2.0), ("conv2d", 6.0), ("view", 0.0), ("linear", 3.0)]
    names = ["conv2d", "view", "linear"]
    kernels = program.kernels_of_ranges(ranges, names, runs=2)
    assert kernels == [
        {"name": "conv2d", "samples_us": [5.0, 6.0]},
        {"name": "linear", "samples_us": [2.0, 3.0]},
    ]
    with pytest.raises(RuntimeError, match="same calls"):
        program.kernels_of_ranges(ranges[:-1], names, runs=2)
    with pytest.raises(RuntimeError, match="no time on the GPU"):
        program.kernels_of_ranges([(name, 0.0) for name in names], names, runs=1)


def test_nvidia_smi_tells_clock_and_temperature(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.is_known.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.gpu_state() == {}
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho '1410, 1980, [N/A]'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert program.gpu_state() == {"clock_mhz": 1410.0, "clock_max_mhz": 1980.0}


NVIDIA_SMI = """\
#!/bin/sh
case "$1" in
  *KNOWN*) echo '1410, 1980, 71, 312.5, P2, 0x0000000000000024' ;;
  *event_reasons* | *throttle_reasons*) echo 'Field is not a valid field to query.'; exit 2 ;;
  *) echo '1410, 1980, 71, 312.5, P2' ;;
esac
"""


@pytest.mark.parametrize("known", ["clocks_event_reasons", "clocks_throttle_reasons", "neither"])
def test_nvidia_smi_tells_power_and_what_holds_the_gpu_back_by_the_driver_s_name(
    program: ModuleType, known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.is_known.cache_clear()
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI.replace("KNOWN", known))
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    state = program.gpu_state()
    program.is_known.cache_clear()
    assert state.pop("reasons", None) == (None if known == "neither" else 0x24)
    assert state == {
        "clock_mhz": 1410.0,
        "clock_max_mhz": 1980.0,
        "temperature_c": 71.0,
        "power_w": 312.5,
        "power_state": 2.0,
    }
