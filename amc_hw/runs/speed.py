"""What a run folder holds of the speed of its device."""

from __future__ import annotations

from amc_hw.runs.records import FileRecord
from amc_hw.runs.values import Positive


class Speed(FileRecord):
    """speed.json: what the original takes as the search begins, and what it takes by the latency table.

    Attributes:
        now_ms: measured, as the table's own measurement of it was.
        table_ms: measured when the table was made.
        predicted: the table was not made with this network, so that ``table_ms`` is its prediction.
    """

    now_ms: Positive
    table_ms: Positive
    predicted: bool = False

    @property
    def slower(self) -> float:
        """How many times as long a network takes now as when the table was made."""
        return self.now_ms / self.table_ms
