"""Scoring on the validation split, image by image, so that hopeless policies need not see all that the others see."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Part
from amc_hw.policy import Policy
from amc_hw.pruning.folding import fold_batch_norms
from amc_hw.runs.files import damaged
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.runs.record_files import RecordFile
from amc_hw.runs.shared import ScoredImages
from amc_hw.search.moves import largest_uniform
from amc_hw.search.sample import Sample, draw_sample, everything, sample_size
from amc_hw.search.space import SearchSpace
from amc_hw.search.study import FunctionScorer, Score, Scorer
from amc_hw.tracing.same import SEVERAL
from amc_hw.training.compute import CPU
from amc_hw.training.number_format import fast_scoring
from amc_hw.training.recipe import lay_channels_last

LOOKS = (0.2, 0.35, 0.5, 0.7)
"""Shares of the sample after which a policy may be dropped."""
LEVEL = 0.01
"""About the probability, at most, that a policy is dropped that is as good as the reference; for all looks together."""
BATCH, GPU_BATCH = 128, 512
REPORT_EVERY = 500  # images, while the sample is drawn


class NetworkScore(Protocol):
    """What a search maximises, 0..1: call it with a network."""

    def __call__(self, model: nn.Module) -> float:
        """Return how good a network is, 0..1."""

    def of_policies(
        self, space: SearchSpace, pruner: Prunes, start: nn.Module, keep: int, sampling: Sampling
    ) -> Scorer:
        """Return what scores policies the quick way.

        Args:
            space: what is searched.
            pruner: makes a policy's network.
            start: the network before pruning.
            keep: how many policies are still compared after the search; 0 where the most accurate need not be the best.
            sampling: where a sample of the images is kept.
        """


class Prunes(Protocol):
    """Makes networks of policies."""

    def pruned(self, policy: Policy) -> nn.Module:
        """Return a policy's network."""


@dataclass(frozen=True)
class Sampling:
    """Where the sample of a search is kept.

    Attributes:
        progress: is told how far it is drawn.
        file: has it, so that a search that goes on and those of other budgets score on the same; None: nowhere.
    """

    progress: Progress = SILENT
    file: RecordFile[ScoredImages] | None = None

    def once(self, images: int, draw: Callable[[], Sample]) -> Sample:
        """Return the sample of so many images that is kept, else draw one and keep it.

        Raises:
            RunFolderError: the file is damaged.
        """
        if self.file is not None and (kept := self.file.find()) is not None:
            if len(kept.weights) != len(kept.positions) or max(kept.positions) >= images:
                raise damaged(self.file.path, f"it is no sample of {images} images")
            kept_weights = torch.tensor(kept.weights, dtype=torch.float64)
            return Sample(torch.tensor(kept.positions), kept_weights, kept.offset)
        sample = draw()
        if self.file is not None:
            positions, weights = sample.positions.tolist(), sample.weights.tolist()
            self.file.write(ScoredImages(positions=positions, weights=weights, offset=sample.offset))
        return sample


@dataclass(frozen=True)
class OwnScore:
    """A score of the user's own.

    Attributes:
        evaluate: a network on the CPU to how good it is, 0..1.
    """

    evaluate: Callable[[nn.Module], float]

    def __call__(self, model: nn.Module) -> float:
        """See `NetworkScore`."""
        return self.evaluate(model.cpu())

    def of_policies(
        self, space: SearchSpace, pruner: Prunes, start: nn.Module, keep: int, sampling: Sampling
    ) -> Scorer:
        """See `NetworkScore.of_policies`."""
        return FunctionScorer(lambda policy: self(pruner.pruned(policy)))


@dataclass(frozen=True)
class PartScorer:
    """Top-1 accuracy on a part of the training set; call it with a network.

    Attributes:
        part: the images.
        compute: where they are looked at, in bfloat16 where that is fast: it changes a prediction in some hundreds.
    """

    part: Part
    compute: torch.device = CPU

    def __call__(self, model: nn.Module) -> float:
        """Return the accuracy, 0..1."""
        return float(self.right(self.prepared(model), torch.arange(len(self.part))).double().mean())

    def of_policies(
        self, space: SearchSpace, pruner: Prunes, start: nn.Module, keep: int, sampling: Sampling
    ) -> Scorer:
        """See `NetworkScore.of_policies`: the most accurate see all images of a sample, the others fewer."""
        if keep == 0:
            return FunctionScorer(lambda policy: self(pruner.pruned(policy)))
        return EarlyDropping(self, space, pruner.pruned, start, keep, sampling)

    def prepared(self, model: nn.Module) -> nn.Module:
        """Return a copy, where the images are looked at, that is quick to score; for one or several looks."""
        ready = fold_batch_norms(model, self._several).to(self.compute)
        lay_channels_last(ready, self._several.to(self.compute))
        return ready

    @cached_property
    def _several(self) -> Tensor:
        return self.part.first(SEVERAL, seed=0)[0]

    def right(self, prepared: nn.Module, positions: Tensor) -> Tensor:
        """Return which of some images of the part a prepared network gets right, bool (n,), on the CPU."""
        logits, labels = self._logits(prepared, positions)
        return logits.argmax(1) == labels

    def margins(self, prepared: nn.Module, positions: Tensor) -> Tensor:
        """Return by how much some images' own class is above the best other one, in logits, float32 (n,)."""
        logits, labels = self._logits(prepared, positions)
        own = logits.gather(1, labels[:, None])[:, 0]
        return own - logits.scatter(1, labels[:, None], -math.inf).amax(1)

    def _chosen(self, positions: Tensor) -> Part:
        """Return some images of the part, with their labels."""
        return replace(self.part, positions=self.part.positions[positions], labels=self.part.labels[positions])

    def _logits(self, prepared: nn.Module, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class scores of some images (n, classes), and their labels (n,)."""
        chosen = self._chosen(positions)
        batches = chosen.batches(GPU_BATCH if self.compute.type == "cuda" else BATCH, device=self.compute)
        with torch.inference_mode(), fast_scoring(self.compute):
            logits = torch.cat([prepared(images) for images, _ in batches])
        return logits.float().cpu(), chosen.labels.cpu()


class EarlyDropping:
    """Scores policies on a sample; one that cannot be among the best ``keep`` sees a part of it only.

    The reference is the ``keep``-th best policy that has seen the whole sample. After each of `LOOKS` the images on
    which the two differ are added up with their weights. If the policy were as good, the sum would be 0 or more on
    average; it is dropped where a sum as low has a probability under `LEVEL`, shared out among the looks
    (`is_hopeless`). A dropped policy's accuracy is the reference's less the difference seen.

    Args:
        scorer: of networks.
        space: what is searched; policies over its budget are no reference.
        prune: a policy to its network.
        original: the network before pruning; it and the uniform policy's network tell which images are in doubt.
        keep: how many policies are still compared after the search.
        sampling: where the sample is kept.
    """

    def __init__(
        self,
        scorer: PartScorer,
        space: SearchSpace,
        prune: Callable[[Policy], nn.Module],
        original: nn.Module,
        keep: int,
        sampling: Sampling | None = None,
    ) -> None:
        self.scorer = scorer
        self.space = space
        self.prune = prune
        self.original = original
        self.keep = keep
        self.sampling = sampling or Sampling()
        self.images: int = sample_size(len(scorer.part))
        self.known: list[tuple[float, Policy]] = []
        self.rights: dict[tuple[int, ...], Tensor] = {}

    @cached_property
    def sample(self) -> Sample:
        """What policies are scored on; drawn when the first one is, where it is not kept already."""
        images = len(self.scorer.part)
        if self.images == images:
            return everything(images)
        return self.sampling.once(images, lambda: draw_sample(self.guide_margins()))

    def guide_margins(self) -> Tensor:
        """Return the margins of the original and of the uniform policy's network, float32 (2, images)."""
        images = len(self.scorer.part)
        _, uniform = largest_uniform(self.space.choices, self.space.bounds)
        guides = (self.scorer.prepared(self.original), self._prepared(uniform))
        margins = torch.empty(len(guides), images)
        for number, guide in enumerate(guides):
            for positions in torch.split(torch.arange(images), REPORT_EVERY):
                done = number * images + int(positions[0])
                self.sampling.progress("looking for the images that tell policies apart", done, len(guides) * images)
                margins[number, positions] = self.scorer.margins(guide, positions)
        return margins

    def recall(self, policy: Policy, score: Score) -> None:
        """Take the score of an episode, of this run or of an earlier one."""
        whole = score.images is None or score.images == self.images
        if whole and self.space.keeps(policy) and policy not in [known for _, known in self.known]:
            self.known = sorted([*self.known, (score.accuracy, dict(policy))], key=lambda each: -each[0])[: self.keep]
            wanted = {tuple(known.values()) for _, known in self.known}
            self.rights = {key: right for key, right in self.rights.items() if key in wanted}

    def score(self, policy: Policy) -> Score:
        """Score a policy; see `amc_hw.search.study.Scorer`."""
        model = self._prepared(policy)
        if len(self.known) < self.keep:
            return self._whole(policy, self._right(model, 0, self.images))
        accuracy, reference = self.known[-1]
        key = tuple(reference.values())
        if key not in self.rights:
            self.rights[key] = self._right(self._prepared(reference), 0, self.images)
        right = torch.zeros(0, dtype=torch.bool)
        for seen in sorted({max(1, int(share * self.images)) for share in LOOKS}):
            right = torch.cat([right, self._right(model, len(right), seen)])
            weights = self.sample.weights[:seen]
            ahead = (right.double() - self.rights[key][:seen].double()) * weights
            if is_hopeless(ahead, float(self.sample.weights.max())):
                return Score(max(0.0, accuracy + float(ahead.sum() / weights.sum())), seen)
        return self._whole(policy, torch.cat([right, self._right(model, len(right), self.images)]))

    def _prepared(self, policy: Policy) -> nn.Module:
        return self.scorer.prepared(self.prune(policy))

    def _right(self, model: nn.Module, start: int, stop: int) -> Tensor:
        return self.scorer.right(model, self.sample.positions[start:stop])

    def _whole(self, policy: Policy, right: Tensor) -> Score:
        self.rights[tuple(policy.values())] = right
        return Score(self.sample.accuracy(right), len(right))


def is_hopeless(ahead: Tensor, heaviest: float) -> bool:
    """Tell whether a policy is too far behind a reference to be as good.

    Bernstein's inequality for a sum of independent values of expectation 0, or of drawn ones, that are at most
    ``heaviest``: it is t or more below 0 with the probability exp(-t^2 / (2 (variance + heaviest t / 3))), at most. The
    variance is taken to be the sum of squares that was seen.

    Args:
        ahead: by what each image is in the policy's favour: its weight, its negative, or 0 where the two agree (n,).
        heaviest: the largest weight of an image, seen or not.
    """
    behind, squares = -float(ahead.sum()), float(ahead.square().sum())
    return behind > 0 and math.exp(-(behind**2) / (2 * (squares + heaviest * behind / 3))) < LEVEL / len(LOOKS)
