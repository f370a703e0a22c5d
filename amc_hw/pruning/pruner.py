"""Pruner: statistics gathered once on calibration images, then a reconstructed smaller network for any policy."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.pruning.importance import Evidence, consumers, find_importance
from amc_hw.pruning.reconstruction import Refit, fit_to_original, write
from amc_hw.pruning.sites import find_sites
from amc_hw.pruning.statistics import gather_grams, gather_targets
from amc_hw.pruning.surgery import shrink
from amc_hw.trace.network import Network
from amc_hw.trace.slicing import kept_positions
from amc_hw.policy import Policy

_WIDEST = 2600  # inputs x kernel area of a group, above which a layer's Gram matrix would not pay
_POINTS = 48  # output positions sampled per image


class Pruner:
    def __init__(self, model, network, calibration, *, importance="reconstruction", images=128, points=48, prior=1.0, refit="all", seed=0, batch=64):
        self._model = copy.deepcopy(model).eval()
        self._network = network
        self._seed = seed
        self._modules = dict(self._model.named_modules())
        names = [layer.name for layer in network.layers]
        self._layers = {n: self._modules[n] for n in names if names.count(n) == 1 and self._modules[n].weight[0].numel() <= _WIDEST}
        self._sites = find_sites(self._model, calibration[:1])
        self._grams = gather_grams(self._model, self._layers, calibration, _POINTS, batch, seed)
        self._evidence = Evidence(self._modules, self._grams, self._sites)
        rank = find_importance(importance)
        self._order = {group.name: rank(group, self._evidence) for group in network.groups}
        self._readers = {reader.name for group in network.groups for reader in consumers(group, self._modules)}
        self.setup(calibration, images, points, prior, refit)

    def setup(self, calibration, images, points, prior, refit):
        self._what = refit
        images = calibration[:images]
        t = gather_targets(self._model, self._layers, self._sites, images, points, self._seed)
        self._refit = Refit(self._sites, t, images, points, self._seed, prior)

    def kept(self, policy: Policy) -> dict[str, list[int]]:
        return {name: sorted(self._order[name][:count].tolist()) for name, count in policy.items()}

    def pruned(self, policy: Policy) -> nn.Module:
        kept = self.kept(policy)
        small = shrink(self._model, self._network, kept)
        modules = dict(small.named_modules())
        stay = {(m, s): torch.as_tensor(p) for (m, s, _), p in kept_positions(self._model, self._network.groups, kept).items()}
        grams = {}
        first = None
        names = []
        for i, (name, layer) in enumerate(self._layers.items()):
            gram = self._grams[name].matrix
            ins = stay.get((name, "in")); outs = stay.get((name, "out"))
            if ins is not None:
                first = i if first is None else first
                if len(gram) == 1:
                    area = layer.weight[0, 0].numel()
                    columns = (ins[:, None] * area + torch.arange(area)).flatten()
                    o = torch.arange(layer.weight.shape[0]) if outs is None else outs
                    w, bb = fit_to_original(layer, self._grams[name], columns, o)
                    if self._what == "none":
                        write(modules[name], modules.get(self._sites[name].norm or ""), w, bb)
                    else:
                        modules[name].weight.data.copy_(w.view_as(modules[name].weight))
                    gram = gram[:, columns][:, :, columns]
                else:
                    gs = ins.view(modules[name].groups, -1)[:, 0] // (layer.in_channels // layer.groups)
                    gram = gram[gs]
            grams[name] = gram
            if first is not None and (self._what == "all" or ins is not None and len(gram) == 1 or name == list(self._layers)[-1]):
                names.append(name)
        outputs = {m: p for (m, s), p in stay.items() if s == "out"}
        if self._what != "none":
            self._refit.run(small, names, outputs, grams)
        return small
