"""What int8 gains where XNNPACK has no integer kernel of an operator: files of LiteRT's quantizer alone, and ours.

    python benchmarks/one_part.py [--models NAME ...] [--image-size 224]

The networks are untrained, with batch statistics of random images; float32, int8 of the quantizer alone and int8 as
amc-hw has it written are timed in turns, 3 x (20 + 50) runs or more on one thread. "In its way" are operators that
compute in float32, or that LiteRT's own kernels run between the parts that XNNPACK takes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import torch
from support_table import calibrate_norms

from amc_hw.devices.registry import open_device
from amc_hw.formats.tflite import one_part
from amc_hw.formats.tflite.convert import to_tflite
from amc_hw.formats.tflite.parts import between_parts
from amc_hw.formats.tflite.quantize import left_in_float, quantized
from amc_hw.models.zoo import build_model
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.protocol import Protocol
from amc_hw.runs.progress import SILENT

MODELS = ("torchvision:mobilenet_v3_small", "torchvision:mobilenet_v3_large", "torchvision:densenet121")
IMAGES = 32


def row(name: str, size: int) -> list[str]:
    """Return a network's row."""
    torch.manual_seed(0)
    images = torch.randn(IMAGES, 3, size, size, generator=torch.Generator().manual_seed(1))
    model = build_model(name, 1000)
    calibrate_norms(model, images)
    content = to_tflite(model.eval(), images[:1])
    ours = quantized(content, "int8", [images.numpy()])
    alone = dict.fromkeys(("in_one_part", "slopes_of_integers"), lambda content: content)
    with mock.patch.multiple(one_part, **alone):
        plain = quantized(content, "int8", [images.numpy()])
    device = open_device("host:threads=1")
    with tempfile.TemporaryDirectory() as folder:
        files = {"float32": content, "plain": plain, "ours": ours}
        paths = {each: Path(folder) / f"{each}.tflite" for each in files}
        for each, path in paths.items():
            path.write_bytes(files[each])
        timings = benchmark(device, paths, Protocol(repeats=3, warmup=20, runs=50), SILENT)
    device.close()
    ms = [timings[each].latency_ms for each in files]
    left = [", ".join([*between_parts(each), *left_in_float(each)]) or "-" for each in (plain, ours)]
    return [name, *(f"{each:.3f}" for each in ms), f"{ms[1] / ms[0]:.2f}x", f"{ms[2] / ms[0]:.2f}x", *left]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--image-size", type=int, default=224)
    options = parser.parse_args()
    columns = (
        "network",
        "float32 ms",
        "int8 alone ms",
        "ours ms",
        "alone",
        "ours",
        "alone: in its way",
        "ours: in its way",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for name in options.models:
        print("| " + " | ".join(row(name, options.image_size)) + " |", flush=True)


if __name__ == "__main__":
    main()
