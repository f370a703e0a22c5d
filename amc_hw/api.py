"""The Python interface: compress a network of one's own, with one's own data and metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from amc_hw.data.dataset import Data, load_data
from amc_hw.errors import UsageError
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.pipeline.agent import agent_file
from amc_hw.pipeline.compress import compress_trained, device_in_turn, table_of
from amc_hw.pipeline.finish import best_weights, restore
from amc_hw.pipeline.rounds import plan_rounds
from amc_hw.pipeline.trained import BASELINE, square_side, trained_model_of
from amc_hw.policy import Metric
from amc_hw.runs.config import make_config, open_run
from amc_hw.runs.file_lock import exclusive
from amc_hw.search.rewards import find_reward
from amc_hw.search.scoring import PartScorer
from amc_hw.training.compute import find_compute
from amc_hw.training.trial import thawed


@dataclass(frozen=True)
class Compressed:
    """What came out.

    Attributes:
        model: the compressed network, fine-tuned, in evaluation mode.
        summary: accuracy, latency, MACs and parameters before and after; what summary.json holds.
        run: the run folder, with the exported model and report.html.
    """

    model: nn.Module
    summary: dict[str, Any]
    run: Path


def compress(
    model: nn.Module,
    example_input: Tensor,
    *,
    data: Data | str,
    device: str = "host",
    latency: str | None = None,
    macs: str | None = None,
    params: str | None = None,
    size: str | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    run: Path | str = "runs/compress",
    table: Path | str | None = None,
    rounds: Sequence[str] = (),
    reward: str = "resource",
    accuracy_floor: float | None = None,
    keep_blocks: bool = False,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    importance: str = "reconstruction",
    strategy: str = "auto",
    agent: Path | str | None = None,
    episodes: int = 100,
    epochs: int = 20,
    seed: int = 0,
    compute: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Compressed:
    """Compress a trained network to a budget that is proven on the device.

    Args:
        model: trained; it is not changed, but for being put into evaluation mode.
        example_input: a batch of images (N, C, H, W) as the network takes them.
        data: a data set, or its name as on the command line; image folders are decoded at the size of the example.
        device: a device's name.
        latency: ``"0.5x"`` or ``"12ms"``; with no budget at all, ``"0.5x"``.
        macs: a budget of multiply-accumulates (``"150M"``); of several budgets all hold.
        params: a budget of parameters (``"2M"``).
        size: a budget of the exported file (``"500kB"``).
        evaluate: what the search maximises, 0..1, on images that are not the test set; by default the top-1
            accuracy on the split of the training set. It is called with networks on the CPU.
        run: the run folder; the same call goes on where it was stopped.
        table: a latency table's file to use and extend; by default the device's own.
        rounds: larger budgets to prune and fine-tune to first (``["0.8x", "0.65x"]``), falling.
        reward: name of the reward.
        accuracy_floor: with the reward ``"accuracy_guaranteed"``: what ``evaluate`` has to return at least, for
            the network as pruned.
        keep_blocks: whether every residual block stays; else the search may leave some out whole.
        exclude: patterns of layers that keep all their channels (``"classifier"``, ``"layer1.*"``); see
            `amc_hw.trace.selection.left_alone`.
        include: patterns of the only layers that may lose channels; without any, all may.
        importance: which channels of a group are kept: ``"reconstruction"``, ``"magnitude"`` or ``"taylor"``.
        strategy: name of the search strategy.
        agent: with the strategy ``"ddpg-multi"``: folder of an earlier run of the same network, whose trained
            agent the search begins with.
        episodes: policies to score.
        epochs: of fine-tuning.
        seed: decides everything that chance plays a part in.
        compute: where to train, prune and score: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; by default a GPU if there is one.
        progress: called with (done, total, text).

    Raises:
        AmcHwError: see `amc_hw.pipeline.compress.compress`.
    """
    loaded = load_data(data, size=example_input.shape[-1]) if isinstance(data, str) else data
    if tuple(example_input.shape[1:]) != tuple(loaded.image_size):
        raise UsageError(
            f"the example input is {tuple(example_input.shape[1:])} (C, H, W), but the images of {loaded.name} are "
            f"{tuple(loaded.image_size)}."
        )
    for name, value in (("rounds", rounds), ("exclude", exclude), ("include", include)):
        if isinstance(value, str):
            raise UsageError(f"{name} is one text, '{value}'; give a list of texts.")
    texts: dict[Metric, str | None] = {"latency_ms": latency, "macs": macs, "params": params, "size_bytes": size}
    given = {metric: text for metric, text in texts.items() if text is not None} or {"latency_ms": "0.5x"}
    metric, *others = given
    config = make_config(
        model=type(model).__name__,
        data=loaded.name,
        image_size=square_side(loaded),
        device=device,
        metric=metric,
        budget=given[metric],
        limits={other: given[other] for other in others},
        table=None if table is None else str(Path(table).expanduser().resolve()),
        rounds=tuple(rounds),
        reward=reward,
        accuracy_floor=accuracy_floor,
        keep_blocks=keep_blocks,
        exclude=tuple(exclude),
        include=tuple(include),
        importance=importance,
        strategy=strategy,
        agent=None if agent is None else str(Path(agent).expanduser().resolve()),
        episodes=episodes,
        epochs=epochs,
        seed=seed,
    )
    folder = Path(run)
    find_reward(reward, accuracy_floor)
    agent_file(folder, config)
    place = find_compute(compute)
    model = thawed(model)
    trained = trained_model_of(config, model, loaded, place)
    plan_rounds(folder, config)
    told = progress or _silent
    with exclusive(folder, told), device_in_turn(device, told, table_of(config)) as (opened, report):
        open_run(folder, config)
        if not (folder / BASELINE).exists():
            save_checkpoint(model, folder / BASELINE)
        score = PartScorer(trained.data.search, place) if evaluate is None else _on_cpu(evaluate)
        summary = compress_trained(folder, config, trained, opened, score, report)
    return Compressed(restore(folder, trained, best_weights(folder)), summary, folder)


def _on_cpu(evaluate: Callable[[nn.Module], float]) -> Callable[[nn.Module], float]:
    """Bring networks to where the user's own images are."""
    return lambda model: evaluate(model.cpu())


def _silent(done: int, total: int, text: str) -> None:
    """Report nothing."""
