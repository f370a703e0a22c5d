"""Where in a dimension the channels of groups are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


class Places:
    """Looks up the groups of channels, by tables over all of them.

    Args:
        owners: the channels of every group, in its order; no channel is in two.
    """

    def __init__(self, owners: Mapping[str, Sequence[int]]) -> None:
        self._names, self._counts = list(owners), [len(channels) for channels in owners.values()]
        self._none = 1 + max((max(channels) for channels in owners.values()), default=0)
        self._owner = np.full(self._none + 1, -1)
        self._rank = np.zeros(self._none + 1, np.int64)
        for number, channels in enumerate(owners.values()):
            self._owner[channels], self._rank[channels] = number, np.arange(len(channels))

    def of(self, channels: NDArray[np.int64]) -> dict[str, NDArray[np.intp]]:
        """Return for every group in a dimension the positions (channels, k) of its channels, in the groups' order.

        Args:
            channels: of every position.
        """
        channels = np.minimum(channels, self._none)
        owners, found = self._owner[channels], dict[str, NDArray[np.intp]]()
        for number in np.unique(owners[owners >= 0]):
            where = np.flatnonzero(owners == number)
            order = np.argsort(self._rank[channels[where]], kind="stable")
            found[self._names[number]] = where[order].reshape(self._counts[number], -1)
        return found
