"""Scoring on the search split, image by image, so that hopeless policies need not see all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from scipy.stats import binom
from torch import Tensor, nn

from amc_hw.compute import CPU
from amc_hw.data import Part
from amc_hw.policy import Policy
from amc_hw.pruning.folding import folded
from amc_hw.search.study import Score
from amc_hw.training import fast_in_bfloat16, placed

LOOKS = (0.1, 0.2, 0.4)
"""Shares of the images after which a policy may be dropped."""
LEVEL = 0.001
"""Probability, at most, that a policy is dropped that is as good as the reference; for all looks together."""
BATCH, GPU_BATCH = 256, 512


@dataclass(frozen=True)
class PartScorer:
    """Top-1 accuracy on a part of the training set; call it with a network.

    The images are looked at in an order drawn once, so that the first ones are a sample of all.

    Attributes:
        part: the images.
        compute: where they are looked at, in bfloat16 where that is fast: it changes a prediction in some hundreds.
    """

    part: Part
    compute: torch.device = CPU

    def __call__(self, model: nn.Module) -> float:
        """Return the accuracy, 0..1."""
        return float(self.right(model, 0, len(self.part)).double().mean())

    def right(self, model: nn.Module, start: int, stop: int) -> Tensor:
        """Return which of the images from ``start`` to ``stop`` a network gets right, bool (n,), on the CPU."""
        order = torch.randperm(len(self.part), generator=torch.Generator().manual_seed(0))[start:stop]
        chosen = replace(self.part, positions=self.part.positions[order], labels=self.part.labels[order])
        small = folded(model)
        batches = chosen.batches(GPU_BATCH if self.compute.type == "cuda" else BATCH, device=self.compute)
        half = torch.autocast(self.compute.type, torch.bfloat16, enabled=fast_in_bfloat16(self.compute))
        with placed(small, self.compute), torch.inference_mode(), half:
            return torch.cat([small(images).argmax(1) == labels for images, labels in batches]).cpu()


class EarlyDropping:
    """Scores policies; one that cannot be among the best ``keep`` sees a part of the images only.

    The reference is the ``keep``-th best policy that has seen all images. After each of `LOOKS` the images on
    which the two differ are counted. If the policy were as good, at least half of these would be in its favour;
    it is dropped where so few are with a probability under `LEVEL`, shared out among the looks (one-sided sign
    test, McNemar 1947; images are drawn without replacement, for which the binomial tail is an upper bound,
    Hoeffding 1963, theorem 4). A dropped policy's accuracy is the reference's less the difference seen.

    Args:
        scorer: of networks.
        prune: a policy to its network.
        keep: how many policies are still compared after the search.
        fits: whether a policy is within the budget; others are no reference.
    """

    def __init__(
        self,
        scorer: PartScorer,
        prune: Callable[[Policy], nn.Module],
        keep: int,
        fits: Callable[[Policy], bool],
    ) -> None:
        self.scorer = scorer
        self.prune = prune
        self.keep = keep
        self.fits = fits
        self.known: list[tuple[float, Policy]] = []
        self.rights: dict[tuple[int, ...], Tensor] = {}

    def recall(self, policy: Policy, score: Score) -> None:
        """Take the score of an episode, of this run or of an earlier one."""
        everything = score.images is None or score.images == len(self.scorer.part)
        if everything and self.fits(policy) and policy not in [known for _, known in self.known]:
            self.known = sorted([*self.known, (score.accuracy, dict(policy))], key=lambda each: -each[0])[: self.keep]
            wanted = {tuple(known.values()) for _, known in self.known}
            self.rights = {key: right for key, right in self.rights.items() if key in wanted}

    def __call__(self, policy: Policy) -> Score:
        """Score a policy."""
        model, images = self.prune(policy), len(self.scorer.part)
        if len(self.known) < self.keep:
            return self._whole(policy, self.scorer.right(model, 0, images))
        accuracy, reference = self.known[-1]
        key = tuple(reference.values())
        if key not in self.rights:
            self.rights[key] = self.scorer.right(self.prune(reference), 0, images)
        right = torch.zeros(0, dtype=torch.bool)
        for share in LOOKS:
            seen = max(1, int(share * images))
            right = torch.cat([right, self.scorer.right(model, len(right), seen)])
            if is_hopeless(right, self.rights[key][:seen]):
                lost = float((self.rights[key][:seen].double() - right.double()).mean())
                return Score(max(0.0, accuracy - lost), seen)
        return self._whole(policy, torch.cat([right, self.scorer.right(model, len(right), images)]))

    def _whole(self, policy: Policy, right: Tensor) -> Score:
        self.rights[tuple(policy.values())] = right
        return Score(float(right.double().mean()), len(right))


def is_hopeless(right: Tensor, reference: Tensor) -> bool:
    """Tell whether a policy is too far behind the reference to be as good, by the same images, bool (n,) each."""
    won, lost = int((right & ~reference).sum()), int((~right & reference).sum())
    return float(binom.cdf(won, won + lost, 0.5)) < LEVEL / len(LOOKS)
