"""Pruner: statistics gathered once on calibration images, then a reconstructed smaller network for any policy."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from amc_hw.errors import UsageError
from amc_hw.policy import Policy
from amc_hw.pruning.contexts import find_contexts
from amc_hw.pruning.filters import filters, set_filters
from amc_hw.pruning.importance import Evidence, find_ranking
from amc_hw.pruning.positions import Fitted
from amc_hw.pruning.reconstruction import Refit, Remains, fit_to_original, write
from amc_hw.pruning.statistics import estimate_norms, gather_grams, gather_targets
from amc_hw.pruning.surgery import shrink
from amc_hw.pruning.taylor import taylor_importance
from amc_hw.tracing.inputs import parts, size_of, taken, tensors_of
from amc_hw.tracing.kinds import Weighted, loses_inputs
from amc_hw.tracing.network import Network
from amc_hw.tracing.slicing import factors, kept_positions

Reconstruction = Literal["none", "original", "sequential", "residual"]

WIDEST = 4608  # inputs x kernel area (512 x 3 x 3) above which a layer's Gram matrix is not worth its memory
BATCH = 64
QUICK_MACS = 14e9  # of the calibration images' forward pass through the original, where a policy has about a second
LEAST_IMAGES = 16
MOST_QUICK_IMAGES = 512  # small networks' fits take longer than their forward passes
SEVERAL = 2  # one image alone lets reshapes pass without a copy, which then are other operators
THOROUGH_BYTES = 2 * 2**30  # of activations and targets in a thorough fit
PRIOR = 1000  # rows per unknown that the weights before a fit count for, divided by the images of the fit


class Pruner:
    """Shrinks a model to policies; the same policy always gives the same network.

    Args:
        model: the model that ``network`` was traced from; it is not changed.
        network: its trace.
        calibration: training images (N, C, H, W) as the model takes them, or other inputs
            (`amc_hw.tracing.inputs`); hundreds or thousands. All work is done
            where they are, and pruned networks are there.
        labels: classes of the calibration images, int64 (N,), which the Taylor importance makes use of.
        importance: which channels are kept, a name of `amc_hw.pruning.importance`.
        reconstruction: "none" leaves the weights as they are, and gives the batch norms behind layers that lost
            inputs the statistics of the pruned network; "original" fits every layer that lost inputs to the
            original's inputs, from Gram matrices alone; "sequential" then fits to the inputs of the network as pruned
            so far; "residual" does so with residual sums as targets.
        points: output positions sampled per image and layer.
        seed: of the positions, and of the classes that stand in for labels.

    Attributes:
        not_reconstructed: layers that keep their sliced weights, with the reason; the batch norms behind those of
            them that lose inputs are given new statistics.

    Raises:
        UsageError: an unknown importance, no calibration images, or not as many labels.
        UnsupportedModelError: the calibration images take another way through the network than its trace.
    """

    def __init__(
        self,
        model: nn.Module,
        network: Network,
        calibration: Any,
        *,
        labels: Tensor | None = None,
        importance: str = "reconstruction",
        reconstruction: Reconstruction = "residual",
        points: int = 16,
        seed: int = 0,
    ) -> None:
        images = size_of(calibration)
        if not images:
            raise UsageError("reconstruction needs calibration images; give some hundreds of training images.")
        if labels is not None and len(labels) != images:
            raise UsageError(f"there are {len(labels)} labels for {images} calibration images; give as many.")
        rank, self._importance = find_ranking(importance), importance
        self._model = copy.deepcopy(model).eval().to(tensors_of(calibration)[0].device)
        self._network = network
        self._reconstruction = reconstruction
        self._points = points
        self._seed = seed
        self._modules = dict(self._model.named_modules())
        self._images = calibration
        self._labels = labels
        self._contexts = find_contexts(self._model, taken(self._images, slice(SEVERAL)))
        self._layers, self.not_reconstructed = self._choose_layers()
        self._grams = gather_grams(self._model, self._layers, self._contexts, parts(self._images, BATCH), points, seed)
        evidence = Evidence(self._modules, self._grams, self._contexts, lambda: self._taylor)
        self._order = {group.name: rank(group, evidence).tolist() for group in network.groups}
        self._refits: dict[str, Refit] = {}
        self._partners_without: dict[tuple[str, ...], dict[str, int | None]] = {}

    def _choose_layers(self) -> tuple[dict[str, Fitted], dict[str, str]]:
        """Return the layers that can be fitted, in the order of their calls, and why the others cannot."""
        names = [layer.name for layer in self._network.layers]
        chosen: dict[str, Fitted] = {}
        left: dict[str, str] = {}
        for name in dict.fromkeys(names):
            layer = self._modules.get(name)
            if not isinstance(layer, Weighted):
                left[name] = "it is a parameter that a forward multiplies with, not a layer"
            elif names.count(name) > 1:
                left[name] = "it is called more than once"
            elif not self._contexts[name].is_formula:
                left[name] = "its forward gives something else than its weights make of one input"
            elif (inputs := filters(layer).shape[1]) > WIDEST:
                left[name] = f"it has {inputs} inputs x kernel area, more than {WIDEST}"
            else:
                chosen[name] = layer
        return chosen, left

    @cached_property
    def _taylor(self) -> dict[str, Tensor]:
        """The Taylor importance; where no classes are known, of whatever the network gives."""
        of_outputs = self._labels is None or self._importance != "taylor"
        return taylor_importance(
            self._model, self._network.groups, self._images, self._labels, self._seed, of_outputs=of_outputs
        )

    def channel_importance(self) -> dict[str, list[float]]:
        """Return the Taylor importance of every group's channels, in the order in which they are kept.

        Of a network that gives no class scores, what counts is how far its outputs move.
        """
        return {name: self._taylor[name][order].tolist() for name, order in self._order.items()}

    def kept(self, policy: Policy) -> dict[str, list[int]]:
        """Return the channels that a policy keeps, ascending, for every group that it names.

        Raises:
            UsageError: more channels than a group has.
        """
        for name, count in policy.items():
            if count > len(self._order.get(name, range(count))):
                raise UsageError(f"the policy keeps {count} channels of {name}, which has {len(self._order[name])}.")
        return {name: sorted(self._order[name][:count]) for name, count in policy.items() if name in self._order}

    def pruned(self, policy: Policy, *, thorough: bool = False) -> nn.Module:
        """Return a new, smaller, reconstructed network in evaluation mode.

        Args:
            policy: channels kept for every group.
            thorough: fit every layer, to as many images as memory allows, instead of what takes about a second.
        """
        kept = self.kept(policy)
        small = shrink(self._model, self._network, {**dict.fromkeys(policy, range(0)), **kept})
        modules = dict(small.named_modules())
        remains = {name: each for name, each in self._remains(kept).items() if name in modules}
        fitted = [] if self._reconstruction == "none" else [name for name in self._layers if name in modules]
        lossy = [name for name in fitted if remains[name].inputs is not None]
        for name in lossy:
            layer, new = self._layers[name], modules[name]
            if self._mixes_what_it_lost(name, remains[name]):
                weights, bias = fit_to_original(layer, self._grams[name], remains[name])
                if self._reconstruction == "original":
                    write(new, self._contexts[name].norm_of(modules), weights, bias)
                else:
                    set_filters(new, weights)
        how: Literal["quick", "thorough"] = "thorough" if thorough else "quick"
        sliced = [name for name in remains if name not in lossy and self._mixes_what_it_lost(name, remains[name])]
        found = {self._contexts[name].norm for name in sliced} if size_of(self._images) > 1 else set()
        norms = [name for name in found if name is not None]  # where layers are fitted, this would undo the fit
        changed = [name for name in self._layers if name in lossy or name not in modules]
        if changed and self._reconstruction in ("sequential", "residual"):
            after = list(self._layers)[list(self._layers).index(changed[0]) :]
            out = tuple(block.name for block in self._network.left_out(policy))
            every = thorough or bool(out)  # what a block did is made up for by all layers behind it, not by the next
            names = [name for name in after if name in modules and (every or self._is_quick(name, remains[name]))]
            grams = {name: remains[name].gram(self._layers[name], self._grams[name]) for name in names}
            partners = self._partners(small, out) if out else None
            self._refit(how).run(small, names, remains, grams, partners, norms)
        elif norms:
            estimate_norms(small, [modules[name] for name in norms], self._images_for(how))
        return small

    def _partners(self, small: nn.Module, out: tuple[str, ...]) -> dict[str, int | None]:
        """Return where the other sides of sums are computed in a network without some blocks."""
        if out not in self._partners_without:
            contexts = find_contexts(small, taken(self._images, slice(SEVERAL)))
            self._partners_without[out] = {name: context.partner for name, context in contexts.items()}
        return self._partners_without[out]

    def _mixes_what_it_lost(self, name: str, remains: Remains) -> bool:
        """Whether a layer lost inputs that its outputs were made from: not where whole filters went with them."""
        return remains.inputs is not None and loses_inputs(self._modules[name])

    def _is_quick(self, name: str, remains: Remains) -> bool:
        """Whether a layer is fitted where there is little time: it lost inputs, or has few rows."""
        return isinstance(self._layers[name], nn.Linear) or self._mixes_what_it_lost(name, remains)

    def _remains(self, kept: dict[str, list[int]]) -> dict[str, Remains]:
        remains = {name: Remains() for name in self._contexts}
        for (name, side, _), positions in kept_positions(self._model, self._network.groups, kept).items():
            if name in remains:
                setattr(remains[name], "inputs" if side == "in" else "outputs", torch.as_tensor(positions))
        for (name, _), along in factors(self._model, self._network.groups, kept).items():
            if name in remains:
                remains[name].factors = torch.as_tensor(along[remains[name].outputs])
        return remains

    def _refit(self, how: Literal["quick", "thorough"]) -> Refit:
        if how not in self._refits:
            images = self._images_for(how)
            contexts = self._contexts
            if self._reconstruction == "sequential":
                contexts = {name: replace(context, partner=None) for name, context in contexts.items()}
            targets = gather_targets(self._model, self._layers, contexts, images, self._points, self._seed)
            self._refits[how] = Refit(contexts, targets, images, self._points, self._seed, PRIOR / size_of(images))
        return self._refits[how]

    def _images_for(self, how: Literal["quick", "thorough"]) -> Any:
        return taken(self._images, slice(self._quick_images() if how == "quick" else self._thorough_images()))

    def _quick_images(self) -> int:
        affordable = int(QUICK_MACS / self._network.macs(self._network.original))
        return min(MOST_QUICK_IMAGES, max(LEAST_IMAGES, affordable))

    def _thorough_images(self) -> int:
        """Return how many images fit: their targets, and the largest activation with its inputs and copies."""
        sizes = [(layer.c_out.at(self._network.original), layer.outputs) for layer in self._network.layers]
        activations = 6 * max(channels * area for channels, area in sizes)
        targets = 2 * sum(channels * min(area, self._points) for channels, area in sizes)
        return max(LEAST_IMAGES, THOROUGH_BYTES // (4 * (activations + targets)))
