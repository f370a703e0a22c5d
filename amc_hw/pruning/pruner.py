"""Pruner: statistics gathered once on calibration images, then a reconstructed smaller network for any policy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.pruning.importance import consumers, magnitude
from amc_hw.pruning.patches import Patches
from amc_hw.pruning.surgery import shrink
from amc_hw.trace.groups import Network, Policy

_WIDEST = 2600  # inputs x kernel area above which a layer is not reconstructed: its Gram matrix would not pay


class Pruner:
    """Shrinks a model to policies; every result is deterministic.

    Args:
        model: the model that ``network`` was traced from; a copy in evaluation mode is used.
        network: its trace.
        calibration: images (N, C, H, W) as the model takes them.
        points: output positions sampled per image and layer.
        batch: images per forward pass.
        seed: of the sampled positions.

    Attributes:
        not_reconstructed: layers that are too wide for a Gram matrix and keep their sliced weights.
    """

    def __init__(
        self, model: nn.Module, network: Network, calibration: Tensor, *, points: int = 48, batch: int = 64, seed: int = 0
    ) -> None:
        self._model = copy.deepcopy(model).eval()
        self._network = network
        modules = dict(self._model.named_modules())
        self._order = {group.name: magnitude(group, modules) for group in network.groups}
        self._reading = {name for group in network.groups for name, _, _ in consumers(group, modules)}
        width = {name: modules[name].weight[0].numel() for name in self._reading}
        self.not_reconstructed = tuple(sorted(name for name in self._reading if width[name] > _WIDEST))
        self._grams, self._means = self._gather(calibration, points, batch, seed)

    def kept(self, policy: Policy) -> dict[str, list[int]]:
        """Return the channels that a policy keeps in every group, ascending."""
        return {name: sorted(self._order[name][:count].tolist()) for name, count in policy.items()}

    def pruned(self, policy: Policy) -> nn.Module:
        """Return a new, smaller network in evaluation mode whose layers are fitted to what they computed in the original."""
        kept = self.kept(policy)
        small = shrink(self._model, self._network, kept)
        old, new = dict(self._model.named_modules()), dict(small.named_modules())
        columns = {name: torch.ones(len(gram), dtype=torch.bool) for name, gram in self._grams.items()}
        for group in self._network.groups:
            gone = torch.ones(group.channels, dtype=torch.bool)
            gone[kept.get(group.name, list(range(group.channels)))] = False
            for name, module, positions in consumers(group, old):
                if name in columns and gone.any():
                    area = module.weight[0, 0].numel()
                    columns[name].view(-1, area)[positions[gone].flatten()] = False
        for name, stay in columns.items():
            if not stay.all():
                self._fit(old[name], new[name], self._grams[name], self._means[name], stay)
        return small

    def _fit(self, old: Any, new: Any, gram: Tensor, mean: Tensor, stay: Tensor) -> None:
        weight = old.weight.detach().double().flatten(1)
        inner = gram[stay][:, stay]
        inner = inner + 1e-4 * inner.diagonal().mean() * torch.eye(len(inner), dtype=inner.dtype)
        solved = torch.cholesky_solve(gram[stay] @ weight.T, torch.linalg.cholesky(inner)).T
        new.weight.data.copy_(solved.view_as(new.weight))
        if new.bias is not None:
            new.bias.data.copy_(old.bias.double() + weight @ mean - solved @ mean[stay])

    def _gather(self, images: Tensor, points: int, batch: int, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return X'X / n (about the mean, where the layer has a bias to hold it) and the mean of every reading layer's inputs."""
        grams: dict[str, Tensor] = {}
        means: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        modules = dict(self._model.named_modules())
        start = 0

        def hook(name: str) -> Any:
            patches = Patches(modules[name], points, seed)

            def gather(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                rows = patches.rows(inputs[0], start)
                grams[name] = grams.get(name, 0) + (rows.T @ rows).double()
                means[name] = means.get(name, 0) + rows.double().sum(0)
                counts[name] = counts.get(name, 0) + len(rows)

            return gather

        wanted = self._reading - set(self.not_reconstructed)
        hooks = [modules[name].register_forward_pre_hook(hook(name)) for name in wanted]
        with torch.no_grad():
            for start in range(0, len(images), batch):  # noqa: B007 - read by the hooks
                self._model(images[start : start + batch])
        for handle in hooks:
            handle.remove()
        for name in grams:
            means[name] = means[name] / counts[name]
            grams[name] = grams[name] / counts[name]
            if modules[name].bias is not None:
                grams[name] -= means[name].outer(means[name])
        return grams, means
