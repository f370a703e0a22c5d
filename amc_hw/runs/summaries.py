"""What summary.json holds: of a run that prunes channels, and of one that sets weights to zero."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from amc_hw.policy import TOP1, Io, Precision
from amc_hw.runs.records import FileRecord, Record
from amc_hw.runs.values import Amount, Channels, Count, DeviceFacts, Fraction, Positive


class Tested(Record):
    """A line of tested.jsonl: what a test set said of a file or of a network.

    Attributes:
        content: the sha256 of the file, or of the network's weights with the precision that it computes in.
        test_set: the sha256 of the test set.
        value: of the task's metric.
    """

    content: str
    test_set: str
    value: Fraction


class BudgetFigures(Record):
    """What the search had to stay under: ``target`` in the metric's unit, ``ratio`` of the original's where given.

    The original is that in the precision ``of``.
    """

    metric: str
    target: Positive
    ratio: Positive | None = None
    of: Precision = "fp32"


class Figures(Record):
    """What is known of the original or of the compressed network; accuracies are of the test set, 0..1."""

    accuracy_before_finetune: Fraction | None = None
    accuracy: Fraction | None = None
    latency_ms: Positive | None = None
    macs: Amount | None = None
    params: Amount | None = None
    size_bytes: Amount | None = None
    predicted_ms: Positive | None = None
    channels: Channels = Field(default_factory=dict)

    def value(self, metric: str) -> float | None:
        """Return the value of a budget's metric, or None where it is not known."""
        known = {
            "latency_ms": self.latency_ms,
            "macs": self.macs,
            "params": self.params,
            "size_bytes": self.size_bytes,
        }
        return known.get(metric)


class SearchFacts(Record):
    """How the policy was found; ``known`` is how many policies other runs of the sweep had scored when it began."""

    strategy: str | None = None
    episodes: Count | None = None
    known: Count | None = None
    seconds: Amount | None = None
    seed: int | None = None


class OnDevice(Record):
    """One of several devices: its budget and both networks there, whose accuracies are of the files that it runs.

    ``unverified`` is whether nothing was measured there; ``artifacts`` are files of the run folder by their format.
    """

    name: str
    device: DeviceFacts = Field(default_factory=dict)
    budget: BudgetFigures
    original: Figures = Field(default_factory=Figures)
    compressed: Figures = Field(default_factory=Figures)
    unverified: bool = False
    artifacts: dict[str, str] = Field(default_factory=dict)

    @property
    def latency_ms(self) -> float | None:
        """The compressed network's latency: measured, or where nothing can be measured, predicted."""
        return self.compressed.predicted_ms if self.unverified else self.compressed.latency_ms

    @property
    def is_kept(self) -> bool:
        """Whether the budget is kept, as far as is known."""
        return self.latency_ms is not None and self.latency_ms <= self.budget.target


class Summary(FileRecord):
    """summary.json; ``device`` is a fingerprint, ``artifacts`` are files of the run folder by their format.

    ``original`` is in fp32, ``compressed`` in ``precision``; ``others`` are both in the other one, by their names.
    ``metric`` is what the accuracies are called. ``io`` is what files of ``precision`` take and give.
    ``smaller`` are the smaller networks that the run was held against, by their names, in ``precision``; ``take`` is
    the one to take instead of ``compressed``, if there is one.
    ``devices`` are all devices of a run for several, its own first, whose figures also stand in the other fields.
    ``warnings`` are those of a run of single weights; where channels are pruned, policy.json has them.
    """

    model: str = ""
    data: str = ""
    device: DeviceFacts = Field(default_factory=dict)
    budget: BudgetFigures | None = None
    limits: list[BudgetFigures] = Field(default_factory=list)
    original: Figures = Field(default_factory=Figures)
    compressed: Figures = Field(default_factory=Figures)
    precision: Precision = "fp32"
    io: Io = "float32"
    others: dict[str, Figures] = Field(default_factory=dict)
    smaller: dict[str, Figures] = Field(default_factory=dict)
    take: str | None = None
    search: SearchFacts = Field(default_factory=SearchFacts)
    artifacts: dict[str, str] = Field(default_factory=dict)
    unverified: bool = False
    devices: list[OnDevice] = Field(default_factory=list)
    metric: str = TOP1
    test_images: Count | None = None
    image_size: Annotated[list[Count], Field(min_length=3, max_length=3)] | None = None
    warnings: list[str] = Field(default_factory=list)

    def whole(self, budget: BudgetFigures) -> Figures:
        """Return the figures of the original that a budget's ratio is of; empty where they are not known."""
        return self.original if budget.of == "fp32" else self.others.get(f"original in {budget.of}", Figures())


class SparseFigures(Record):
    """What is known of the original or of the sparse network.

    Attributes:
        accuracy_before_finetune: on the test set, 0..1, as pruned.
        accuracy: on the test set, 0..1.
        nonzero_params: parameters that are not zero.
        nonzero_bytes: theirs.
        size_bytes: of the exported file.
        deflated_bytes: of the same, deflated.
        layers: weights that are not zero in every layer.
    """

    accuracy: Fraction
    nonzero_params: Count
    nonzero_bytes: Count
    size_bytes: Count
    deflated_bytes: Count
    layers: dict[str, Count]
    accuracy_before_finetune: Fraction | None = None


class SparseRound(Record):
    """One round of fine-grained pruning; accuracies are of the validation split."""

    budget: str
    target_bytes: Positive
    nonzero_bytes: Amount
    search_accuracy_before_finetune: Fraction
    search_accuracy: Fraction
    search_seconds: Amount


class SparseSummary(FileRecord):
    """summary.json of a run that sets single weights to zero; no latency is in it.

    ``warnings`` is what its reader should know, a sentence each.
    """

    granularity: Literal["weights"]
    model: str
    data: str
    budget: BudgetFigures
    original: SparseFigures
    compressed: SparseFigures
    rounds: list[SparseRound]
    search: SearchFacts
    epochs: Count
    artifacts: dict[str, str]
    note: str
    test_images: Count
    image_size: list[Count] | None = None
    warnings: list[str] = Field(default_factory=list)
