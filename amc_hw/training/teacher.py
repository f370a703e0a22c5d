"""A teacher that computes no batch's outputs twice: trainings of the same seed learn the same images, cut alike."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from amc_hw.training.state import digest

MOST_BYTES = 2**28
"""Of a teacher's outputs that are kept; those of the first batches are, because the next training begins with them."""

_KNOWN: WeakKeyDictionary[nn.Module, dict[bytes, Tensor]] = WeakKeyDictionary()


class Teacher(nn.Module):
    """Gives what a network gives, of a batch that it has seen from memory; on the CPU, where that is quicker.

    A batch is known by all of its pixels, so nothing has to be said of where it comes from. Looking them through takes
    about a hundredth of the time of the network.

    Args:
        original: the network, for as long as which its outputs are kept.
        quick: the same, ready to run.
    """

    def __init__(self, original: nn.Module, quick: nn.Module) -> None:
        super().__init__()
        self.quick = quick
        self._weights = digest(original).encode()
        self._known = _KNOWN.setdefault(original, {})
        self._bytes = sum(outputs.nbytes for outputs in self._known.values())

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores (N, classes) of images (N, C, H, W)."""
        key = hashlib.blake2b(images.contiguous().numpy().data, digest_size=16, salt=self._weights[:16]).digest()
        if key in self._known:
            return self._known[key]
        outputs: Tensor = self.quick(images)
        if self._bytes + outputs.nbytes <= MOST_BYTES:
            self._known[key] = outputs
            self._bytes += outputs.nbytes
        return outputs
