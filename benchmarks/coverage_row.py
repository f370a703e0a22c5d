"""One network of coverage.py, in a process of its own: what is known so far is written after every step."""

from __future__ import annotations

import copy
import json
import os
import resource
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coverage_networks import build, noise
from coverage_others import left_by_torch_pruning
from support_table import draw, outputs
from torch import Tensor, nn

from amc_hw.errors import AmcHwError, first_line
from amc_hw.policy import Policy
from amc_hw.tracing.counted import count_macs
from amc_hw.tracing.groups import Network, trace
from amc_hw.tracing.plain import with_plain_weights
from amc_hw.tracing.slicing import cut
from amc_hw.tracing.verify import masked

TOLERANCE = 1e-4
DOUBLE_TOLERANCE = 1e-6  # where rounding in single precision is more than that
POLICIES = 3
NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc")


@dataclass
class Row:
    """What is known of a network; every change of it is written as a line of JSON."""

    into: Path
    known: dict[str, Any] = field(default_factory=dict)

    def tell(self, **more: Any) -> None:
        self.known.update(more)
        with self.into.open("a") as file:
            file.write(json.dumps(self.known) + "\n")


class Wrong(Exception):
    """A network was cut and computes something else than was promised."""


def macs_of(model: nn.Module, example: Tensor) -> int:
    _, macs = count_macs(copy.deepcopy(model).requires_grad_(False), example)
    return macs


def difference(have: list[Tensor], want: list[Tensor], original: list[Tensor]) -> float:
    """Return how far outputs are off: of what the masking changes, which counts as 1 to 100 % of the largest output."""
    if [a.shape for a in have] != [b.shape for b in want]:
        raise Wrong("outputs of another shape than the masked network's")
    worst = 0.0
    for a, b, whole in zip(have, want, original, strict=True):
        if b.numel() and b.is_floating_point():
            effect = float((b - whole).abs().max()) if whole.shape == b.shape else 0.0
            largest = float(b.abs().max())
            off = float((a - b).abs().max()) / max(min(effect, largest), 0.01 * largest, 1e-12)
            worst = off if not off <= worst else worst  # NaN stays
    return worst


def check(model: nn.Module, network: Network, kept: dict[str, list[int]], example: Tensor) -> float:
    """Return how far a cut network is off the masked original; in double precision, where single is not enough.

    Raises:
        Wrong: it has other MACs, parameters or outputs than predicted, or does not run.
    """
    policy = {name: len(channels) for name, channels in kept.items()}
    try:
        small = cut(model, network.groups, kept)
        macs = macs_of(small, example)
    except Exception as error:  # whatever a forward raises that was cut wrongly
        raise Wrong(f"the cut network does not run ({type(error).__name__}: {first_line(error)[:120]})") from error
    if macs != network.macs(policy):
        raise Wrong(f"{macs} MACs where {network.macs(policy)} were predicted")
    if (params := sum(p.numel() for p in small.parameters())) != network.params(policy):
        raise Wrong(f"{params} parameters where {network.params(policy)} were predicted")
    image = noise(example, 1, seed=1)
    if (off := compared(model, network, kept, image)) <= TOLERANCE:
        return off
    try:
        off = compared(model.double(), network, kept, image.double())
    finally:
        model.float()
    if not off <= DOUBLE_TOLERANCE:
        raise Wrong(f"outputs differ from the masked network's by {off:.1e}")
    return off


def compared(model: nn.Module, network: Network, kept: dict[str, list[int]], image: Tensor) -> float:
    small, wide = cut(model, network.groups, kept), masked(model, network.groups, kept)
    return difference(outputs(small, image), outputs(wide, image), outputs(model, image))


def half(network: Network) -> dict[str, list[int]]:
    """Return the channels of a policy that takes half of every group, of odd ones the smaller half."""
    return {name: list(range(channels - channels // 2)) for name, channels in network.original.items()}


def described(network: Network) -> dict[str, Any]:
    layers = list(dict.fromkeys(layer.name for layer in network.layers))
    reasons = Counter(reason for layer, reason in network.unprunable.items())
    return {
        "groups": len(network.groups),
        "layers": len({*layers, *network.unprunable}),
        "left_alone": dict(reasons.most_common()),
        "params": network.params(network.original),
        "macs": network.macs(network.original),
        "blocks": len(network.blocks),
    }


def proven(row: Row, model: nn.Module, network: Network, example: Tensor) -> None:
    """Hold random policies, and half of every group, against the masked original."""
    policies = [*(draw(network, np.random.default_rng(seed)) for seed in range(POLICIES)), half(network)]
    try:
        worst = max(check(model, network, kept, example) for kept in policies)
    except Wrong as error:
        row.tell(outcome="wrong", why=str(error))
        return
    counts: Policy = {name: len(channels) for name, channels in policies[-1].items()}
    share = network.macs(counts) / row.known["original_macs"]
    row.tell(outcome="proven", why="", difference=worst, ours=round(share, 4))


def files(row: Row, model: nn.Module, network: Network, example: Tensor) -> None:
    """Hold files that are written from the original's graph against conversions of pruned networks."""
    from written_files import check as check_files

    from amc_hw.formats.registry import FORMATS
    from amc_hw.formats.template import lower
    from amc_hw.policy import channel_choices
    from amc_hw.profiling.plan import draw_policy
    from amc_hw.tracing.traced import TracedModel

    found, random = {}, np.random.default_rng(0)
    choices = {group.name: channel_choices(group.channels, 8, 0.2) for group in network.groups}
    traced = TracedModel(model, example, network, choices, type(model).__name__)
    for name in ("tflite", "onnx"):
        try:
            template = lower(model, network, example, FORMATS[name])
            for _ in range(2):
                check_files(traced, template, FORMATS[name], draw_policy(choices, random), random)
            found[name] = "alike"
        except Exception as error:  # whatever a converter raises
            found[name] = f"{type(error).__name__}: {first_line(error)[:160]}"
        row.tell(files=dict(found))


def examine(name: str, row: Row, *, with_files: bool) -> None:
    row.tell(network=name, outcome="not built", why="")
    try:
        model, example = build(name)
    except ImportError as error:
        row.tell(outcome="not installed", why=f"{error.name or error} is missing")
        return
    row.tell(input=list(example.shape[1:]), outcome="crash", why="")
    original, network = model, None
    started = time.perf_counter()
    try:
        model, done = with_plain_weights(original, example)
        row.tell(plain=done, original_macs=macs_of(original, example))
        network = trace(model, example)
    except AmcHwError as error:
        row.tell(outcome="refused", why=str(error))
    row.tell(trace_s=round(time.perf_counter() - started, 1))
    if network is not None:
        least = network.macs(dict.fromkeys(network.original, 1)) / row.known["original_macs"]
        row.tell(**described(network), least=round(least, 4), outcome="refused", why="no layer can lose channels")
    if network is not None and network.groups:
        row.tell(outcome="crash", why="while it was proven")
        proven(row, model, network, example)
    row.tell(**left_by_torch_pruning(original, network, example, macs_of))
    if with_files and row.known["outcome"] == "proven":
        files(row, model, network, example)


def run(name: str, into: Path, memory: float, *, with_files: bool) -> None:
    """Examine a network in the process that this is, with one thread and so many GiB; see `examine`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # packages print
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    limit = int(memory * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    row = Row(into)
    try:
        examine(name, row, with_files=with_files)
    except Exception as error:  # a row, and not an end; what is known of it stays
        text = f"{type(error).__name__}: {first_line(error)[:200]}"
        if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
            row.tell(outcome="memory limit", why=f"more than {memory:g} GiB")
        else:
            outcome = "not built" if row.known["outcome"] == "not built" else "crash"
            row.tell(outcome=outcome, why=text)
