"""One round of fine-grained pruning: search how many weights every layer keeps, set the others to zero, fine-tune."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from amc_hw.budget.bounds import Limit
from amc_hw.budget.cost import Cost, Term
from amc_hw.budget.network_costs import BYTES_OF_A_FLOAT
from amc_hw.models.checkpoint import load_own_checkpoint, save_checkpoint
from amc_hw.pipeline.events import epoch_events
from amc_hw.pipeline.run_search import run_search
from amc_hw.pipeline.shortlist import fit
from amc_hw.pipeline.steps import layer_features
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.policy import Policy
from amc_hw.pruning.formulas import computed_from_own_weights
from amc_hw.pruning.masks import PARTS, MagnitudePruner, kept_weights, part_choices, zeros_held
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import damaged
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import Progress
from amc_hw.runs.records import SparsePolicy
from amc_hw.search.rewards import find_reward
from amc_hw.search.scoring import EarlyDropping, PartScorer, Sampling
from amc_hw.search.space import SearchSpace, Step
from amc_hw.search.strategies import WEIGH_CHANNELS, build_strategy
from amc_hw.search.study import Problem
from amc_hw.tasks.classification import knows_by_heart
from amc_hw.tracing.network import Layer
from amc_hw.training.loop import train
from amc_hw.training.optimizer import suited_optimizer
from amc_hw.training.recipe import recovery_recipe


@dataclass(frozen=True)
class Sparse:
    """A network with zeros: what a round begins with and what it leaves behind.

    Attributes:
        model: the network.
        parts: how many of the `PARTS` of its weights every layer has kept, in network order.
    """

    model: nn.Module
    parts: Policy


def sparse_layers(trained: TrainedModel) -> dict[str, Layer]:
    """Return the convolutions and linear layers of a network by name, in the order of their calls.

    Layers that change their weights in their forward are left out: there, zeros do not stay zero.
    """
    own = computed_from_own_weights(trained.model, trained.example)
    layers = {layer.name: layer for layer in reversed(trained.network.layers)}  # of two calls, the first describes it
    names = dict.fromkeys(layer.name for layer in trained.network.layers)
    return {name: layers[name] for name in names if name in own}


def whole(trained: TrainedModel) -> Sparse:
    """Return the original network, which keeps all of its weights."""
    return Sparse(trained.model, dict.fromkeys(sparse_layers(trained), PARTS))


def nonzero_cost(trained: TrainedModel) -> Cost:
    """Return the bytes of the weights that a policy keeps and of all other parameters, four for each."""
    original = trained.network.original
    sizes = {name: layer.weights(original) for name, layer in sparse_layers(trained).items()}
    others = trained.network.params(original) - sum(sizes.values())
    terms = [Term((name,), _bytes(weights)) for name, weights in sizes.items()]
    return Cost("size_bytes", terms, float(BYTES_OF_A_FLOAT * others))


def prune_round(
    folder: RunFolder, config: RunConfig, trained: TrainedModel, start: Sparse, limit: Limit, progress: Progress
) -> tuple[Sparse, Sparse]:
    """Search, prune and fine-tune, or go on where the folder says that this stopped; a finished round is loaded.

    An action is the share of a layer's weights that stays (arXiv:1802.03494, section 3.2), in fiftieths of the
    original's; what is zero at the start stays zero. The caps are of what a round begins with: of the original
    they would make the paper's 20 % of a ResNet-50 a uniform one. There is no reconstruction.

    Args:
        folder: of the round; gets episodes.jsonl, sparsity.json and model.pt.
        config: strategy, episodes, epochs and seed.
        trained: the original network, which is the teacher of the fine-tuning, and its data.
        start: what is pruned: the original, or what the round before left.
        limit: the most bytes that may be non-zero.
        progress: is told how far the work is.

    Returns:
        The network as it was pruned, and as it is after fine-tuning.

    Raises:
        BudgetError: the caps on the layers' sparsity do not let the limit be reached.
        RunFolderError: a file of the round is damaged.
    """
    pruner = MagnitudePruner(start.model, start.parts)
    if not folder.sparsity.exists():
        found = _search(folder, config, trained, start, pruner, limit, progress)
        folder.sparsity.write(SparsePolicy(parts_of=PARTS, parts=found, limit_bytes=limit.most))
    parts = _read_parts(folder, start.parts)
    pruned, model = pruner.pruned(parts), pruner.pruned(parts)
    if folder.finetuned.exists():
        load_own_checkpoint(model, folder.finetuned)
        return Sparse(pruned, parts), Sparse(model, parts)
    by_heart = knows_by_heart(trained.model, trained.data, trained.compute)
    images, optimizer = len(trained.data.train), suited_optimizer(model)
    with zeros_held(model, parts), epoch_events(folder) as write_events:
        train(
            model,
            trained.data,
            recovery_recipe(images, config.epochs, by_heart=by_heart, optimizer=optimizer),
            seed=config.seed,
            teacher=trained.model,
            device=trained.compute,
            progress=progress,
            state_path=folder.finetune_state(),
            listener=write_events,
        )
    save_checkpoint(model, folder.finetuned)
    return Sparse(pruned, parts), Sparse(model, parts)


def _read_parts(folder: RunFolder, start: Policy) -> dict[str, int]:
    """Return the policy of a round, of layers that keep no more than at its start; or raise RunFolderError."""
    parts = folder.sparsity.read().parts
    if parts.keys() != start.keys() or any(kept > start[layer] for layer, kept in parts.items()):
        raise damaged(folder.sparsity.path, "it has no parts of this network's layers")
    return {layer: parts[layer] for layer in start}


def _search(
    folder: RunFolder,
    config: RunConfig,
    trained: TrainedModel,
    start: Sparse,
    pruner: MagnitudePruner,
    limit: Limit,
    progress: Progress,
) -> dict[str, int]:
    """Return the best policy of a search, grown to use the limit up."""
    steps = _steps(trained, start.parts)
    space = SearchSpace(steps, limit.cost, limit.most)
    score = PartScorer(trained.data.search, trained.compute)
    scorer = EarlyDropping(score, space, pruner.pruned, start.model, 1, Sampling(progress))
    importance = pruner.importance(start.parts) if config.strategy in WEIGH_CHANNELS else None
    settings = {
        "strategy": config.strategy,
        "seed": config.seed,
        "episodes": config.episodes,
        "metric": limit.cost.metric,
        "limit": limit.most,
        "original": limit.cost(space.original),
        "images": scorer.images,
    }
    problem = Problem(space, find_reward("resource"), config.episodes, settings)
    strategy = build_strategy(config.strategy, space, seed=config.seed, episodes=config.episodes, importance=importance)
    study = run_search(folder, problem, strategy, scorer, progress)
    fitting = (episode.channels for episode in study.top(len(study.episodes)) if space.keeps(episode.channels))
    return fit(next(fitting), space.choices, (limit,))


def _steps(trained: TrainedModel, most: Mapping[str, int]) -> list[Step]:
    """Return one step for each layer, with the paper's features; a layer with little left has one choice."""
    original = trained.network.original
    return [
        Step(name, part_choices(layer.kind, most[name]), layer_features(layer, original))
        for name, layer in sparse_layers(trained).items()
    ]


def _bytes(weights: int) -> Callable[[tuple[int, ...]], float]:
    return lambda parts: float(BYTES_OF_A_FLOAT * kept_weights(weights, parts[0]))
