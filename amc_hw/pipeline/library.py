"""The parts of a compression for whoever puts them together: one short call for each, and nothing else to know."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from amc_hw.budget.budget import parse_budget
from amc_hw.budget.cost import Cost
from amc_hw.budget.network_costs import macs_cost as network_macs
from amc_hw.devices.base import Device
from amc_hw.devices.table_only import open_or_predict
from amc_hw.errors import UnsupportedModelError, UsageError
from amc_hw.latency.prediction import Predictor
from amc_hw.pipeline.steps import search_steps
from amc_hw.policy import Policy, Precision
from amc_hw.profiling.deployed import template_for
from amc_hw.profiling.latency_cost import latency_cost as template_cost
from amc_hw.profiling.profile import profile
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.search.rewards import find_reward
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import build_strategy
from amc_hw.search.study import FunctionScorer, Problem, StudyResult
from amc_hw.search.study import run_study as run_problem
from amc_hw.tracing.plain import with_plain_weights
from amc_hw.tracing.traced import PruningChoices, TracedModel, trace_example
from amc_hw.training.trial import tell


def trace(
    model: nn.Module,
    example_input: Tensor,
    *,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    keep_blocks: bool = False,
) -> TracedModel:
    """Find what can be pruned in a network; every channel group is proven by cutting it.

    Layers that compute their weights in every forward pass are replaced by plain ones in a copy, which is said.

    Args:
        model: trained; it is put into evaluation mode.
        example_input: images (N, C, H, W), or a batch of another tensor, as the network takes them.
        exclude: patterns of layers that keep all their channels (``"classifier"``, ``"layer1.*"``).
        include: patterns of the only layers that may lose channels; without any, all may.
        keep_blocks: whether every residual block stays.

    Raises:
        UnsupportedModelError: nothing in the network can be pruned.
        UsageError: an example that the network does not take, or a pattern that matches no layer.
    """
    allowed = PruningChoices(exclude=tuple(exclude), include=tuple(include), keep_blocks=keep_blocks)
    example = example_input[:1]
    plain, note = with_plain_weights(model, example)
    if note:
        tell("%s", note)
    try:
        return trace_example(plain, example, allowed)
    except UnsupportedModelError as error:
        if example_input.ndim == 4:
            raise
        reason = f"the example input has shape {tuple(example_input.shape)}, and {str(error).rstrip('.')}"
        raise UsageError(f"{reason}; give images (N, C, H, W), or what the network takes.") from error


def macs_cost(traced: TracedModel) -> Cost:
    """Return the multiply-accumulates of a policy's network as a cost."""
    return network_macs(traced.network)


def open_device(name: str, precision: Precision = "fp32") -> Device:
    """Open a device, to be used in a ``with``: ``host:threads=2``, ``onnx``, ``ssh:user@host:onnx``, ``android`` ...

    Where a device is not in reach and its latency table ships with amc-hw (``pixel1``), the table stands for it:
    `latency_cost` predicts from it, and what would measure is refused.

    Args:
        name: of the device.
        precision: of the files that it is measured with: ``fp32``, ``fp16``, ``bf16``, ``int8``, ``int8-dynamic``,
            ``int16x8``.

    Raises:
        UsageError: there is no such device, or it does not have an option, or the precision.
        DeviceError: the device is not here or cannot be used, and there is no table of it.
    """
    return open_or_predict(name, precision=precision)


def latency_cost(device: Device, traced: TracedModel, table: Path | str | None = None) -> Cost:
    """Return the latency on a device, in milliseconds, as a cost; what its table lacks is measured first.

    A device out of reach is predicted from its known table.

    Args:
        device: see `amc_hw.open_device`.
        traced: the network.
        table: a latency table's file to use and extend; by default the device's own in the user's cache.

    Raises:
        DeviceError: the device cannot be measured.
        TableError: the known table has no entry of an operator of the network.
        UsageError: a table is named for a device that is known by one alone.
    """
    known = device.known_table()
    if known is not None:
        if table is not None:
            raise UsageError(f"'{device.name}' is known by its latency table only; leave table= out.")
        template = template_for(device, traced)
        return template_cost(template, Predictor(known), traced.choices)
    file = None if table is None else Path(table).expanduser()
    measured, _, template = profile(device, traced, file, 0, SILENT)
    return template_cost(template, Predictor(measured), traced.choices)


def search_space(traced: TracedModel, cost: Cost, budget: str) -> SearchSpace:
    """Return the policies of a network, and the budget that a search keeps.

    Args:
        traced: the network.
        cost: what the budget counts: `macs_cost`, `latency_cost` or a cost of one's own.
        budget: ``"0.5x"`` of the original's, or a value with its unit (``"12ms"``, ``"150M"``).

    Raises:
        BudgetError: no policy is so cheap.
        UsageError: the budget cannot be read.
    """
    target = parse_budget(cost.metric, budget).target(cost(traced.network.original))
    return SearchSpace(search_steps(traced), cost, target)


def run_study(
    space: SearchSpace,
    score: Callable[[Policy], float],
    *,
    strategy: str = "auto",
    episodes: int = 100,
    seed: int = 0,
    log: Path | str | None = None,
) -> StudyResult:
    """Search the policy with the best score within the budget.

    Args:
        space: see `search_space`.
        score: a policy to how good its network is, 0..1, on images that are not the test set.
        strategy: see ``amc-hw search --help``.
        episodes: policies to score.
        seed: where all chance comes from.
        log: a file for the episodes; the same call goes on where it ends.

    Raises:
        UsageError: an unknown strategy, or a score that is no fraction.
        RunFolderError: the log is of another search.
    """
    settings = {"strategy": strategy, "seed": seed, "episodes": episodes, "original": space.original_cost}
    problem = Problem(space, find_reward("resource"), episodes, settings | _limit(space))
    asked = build_strategy(strategy, space, seed=seed, episodes=episodes)
    with tempfile.TemporaryDirectory() as folder:
        file = RunFolder(Path(folder)).episodes.path if log is None else Path(log).expanduser()
        return run_problem(problem, asked, FunctionScorer(score), file)


def _limit(space: SearchSpace) -> dict[str, float | None]:
    """Return what tells one space from another in a log."""
    choices = math.prod(len(step.choices) for step in space.steps)
    return {"limit": None if space.bounds is None else space.bounds.limits[0].most, "choices": choices}
