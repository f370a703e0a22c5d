"""Whether the files that are timed for a latency table are those of real networks: each is held against a conversion.

The networks of `support_table.py` are taken untrained, so that all their biases are equal. For the smallest policy and
random ones, the file that is written from the original's graph must have the operators, shapes and integer constants of
the pruned network's own conversion. TFLite files must run without a delegate, too, which refuses what does not fit.

    python benchmarks/written_files.py [--networks NAME ...] [--formats NAME ...] [--policies 2] [--image-size 64]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from support_table import TORCHVISION, ZOO, build

from amc_hw.errors import AmcHwError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.formats.registry import FORMATS, Format
from amc_hw.formats.template import lower
from amc_hw.formats.tflite.convert import TfliteModel
from amc_hw.policy import Policy
from amc_hw.profiling.plan import corner_policies, draw_policy
from amc_hw.pruning.surgery import first_channels, shrink
from amc_hw.tracing.traced import TracedModel, trace_model


def check(
    trained: TracedModel, template: GraphTemplate, kind: Format, policy: Policy, random: np.random.Generator
) -> None:
    """Refuse a written file that differs from the conversion, or does not run."""
    content = template.file(policy, random)
    small = shrink(trained.model, trained.network, first_channels(policy))
    converted = kind.read(kind.convert(small, trained.example))
    if template.operators(policy) != converted.operators():
        raise AmcHwError("other operators than in the converted network")
    pairs = zip(kind.read(content).uses(), converted.uses(), strict=True)
    if wrong := [ours[0] for ours, theirs in pairs if ours != theirs]:
        raise AmcHwError(f"{len(wrong)} operators with other sizes than in the converted network: {', '.join(wrong)}")
    runs = [kind.load(content), *([TfliteModel(content, delegate=False)] if kind.name == "tflite" else [])]
    images = np.random.default_rng(0).random(tuple(trained.example.shape), np.float32)
    if not all(np.isfinite(run(images)).all() for run in runs):
        raise AmcHwError("outputs that are no numbers")


def row(name: str, kind: Format, policies: int, size: int | None) -> list[str]:
    torch.manual_seed(0)
    random, started = np.random.default_rng(0), time.perf_counter()
    model, example = build(name, size)
    trained = trace_model(model, tuple(example.shape[1:]))
    template = lower(model, trained.network, trained.example, kind)
    drawn = [corner_policies(trained.choices)[1], *(draw_policy(trained.choices, random) for _ in range(policies))]
    for policy in drawn:
        check(trained, template, kind, policy, random)
    operators = str(len(template.graph.kinds))
    return [name, kind.name, operators, str(len(drawn)), "alike", f"{time.perf_counter() - started:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(dict.fromkeys([*ZOO, *TORCHVISION])))
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--policies", type=int, default=2)
    parser.add_argument("--image-size", type=int, help="instead of each network's own")
    arguments = parser.parse_args()
    print("| network | format | operators | files | converted and written | s |\n|---|---|---|---|---|---|", flush=True)
    failed = 0
    for name in arguments.networks:
        for kind in map(FORMATS.__getitem__, arguments.formats):
            try:
                cells = row(name, kind, arguments.policies, arguments.image_size)
            except AmcHwError as error:
                cells, failed = [name, kind.name, "", "", f"FAILED: {error}", ""], failed + 1
            print("| " + " | ".join(cells) + " |", flush=True)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
