"""What stands in the files of a run: each file's content is described here once, for those who write and read it.

A record keeps what it was given and no more: a field that a writer leaves out is not in the file, one that a file lacks
has its default, and one that this version does not know is passed over. So old run folders stay readable.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from amc_hw.policy import TOP1, Precision
from amc_hw.runs.values import Amount, Channels, Count, DeviceFacts, Facts, Fraction, Number, Positive

FORMAT: Final = 1


class Record(BaseModel):
    """A part of a file, or a line of one."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", defer_build=True)  # when first used

    def document(self) -> Facts:
        """Return what is written."""
        return self.model_dump(exclude_unset=True)


class FileRecord(Record):
    """A whole file."""

    format: Literal[1] = FORMAT

    def document(self) -> Facts:
        """Return what is written, the format first."""
        return {"format": self.format, **super().document()}


class Header(Record):
    """The first line of episodes.jsonl.

    Attributes:
        format: 1: this line, then one line for each episode.
        settings: everything that the episodes depend on.
    """

    format: Literal[1]
    settings: Facts


class Episode(Record):
    """One further line of episodes.jsonl: a policy and what the validation split thought of it.

    Attributes:
        episode: its number, from 0.
        channels: the policy: channels kept for every group.
        accuracy: on the validation split, 0..1.
        reward: what the strategy was told.
        cost: in the unit of the budget's metric.
        metrics: further costs by name; in the file they stand among the other keys.
        seconds: from asking for the policy to its score.
    """

    episode: Count
    channels: Channels = {}
    accuracy: Fraction
    reward: Number
    cost: Number = 0.0
    metrics: dict[str, Number] = {}
    seconds: Amount = 0.0

    @model_validator(mode="before")
    @classmethod
    def _gather_metrics(cls, line: Any) -> Any:
        """Take the numbers under all other names for metrics."""
        if not isinstance(line, dict) or "metrics" in line:
            return line
        others = {name: value for name, value in line.items() if name not in cls.model_fields}
        return {**line, "metrics": {name: value for name, value in others.items() if type(value) in (int, float)}}

    def document(self) -> Facts:
        """Return what is written, the metrics among the other keys."""
        line = super().document()
        seconds, metrics = line.pop("seconds", None), line.pop("metrics", None)
        line |= metrics if isinstance(metrics, dict) else {}
        return line if seconds is None else {**line, "seconds": seconds}


class Contender(Record):
    """A line of shortlist.jsonl: a policy with its score, 0..1 on the validation split, after the short fine-tune."""

    channels: Channels
    score: Number


class Miss(Record):
    """A line of misses.jsonl: a chosen policy that the last benchmark found over the latency budget.

    Attributes:
        channels: the policy.
        found: share of the budget that was measured when it was chosen, or again after the miss.
        used: what the last benchmark said, above 1.
    """

    channels: Channels
    found: Positive
    used: Positive


class OriginalTimes(FileRecord):
    """original-times.json: the original's latency in fp32 and in the precision that ships, timed in turns."""

    float_ms: Positive
    shipped_ms: Positive


class PrecisionTrial(Record):
    """The original in one precision, before the search.

    Attributes:
        precision: of its file.
        latency_ms: on the device.
        size_bytes: of the file.
        used: the largest share of a budget that it uses: above 1, it must become so many times smaller.
        accuracy: 0..1, on the validation split: of the original where it keeps the budgets in some precision, else of a
            network with one keep ratio for all groups that keeps them; None where it was not told.
    """

    precision: Precision
    latency_ms: Positive
    size_bytes: Count
    used: Positive
    accuracy: Number | None = None


class PrecisionChoice(FileRecord):
    """precision.json: what ``precision=auto`` found; ``alone`` is whether a precision keeps the budgets by itself."""

    chosen: Precision
    alone: bool
    trials: list[PrecisionTrial]


class Group(Record):
    """One channel group of the chosen policy; latencies are predicted, of all operators the group touches."""

    name: str
    original: Annotated[int, Field(ge=1, le=10**15)]
    kept: Count
    latency_ms_original: Amount | None = None
    latency_ms_kept: Amount | None = None


class Elsewhere(Record):
    """What a candidate takes on a further device, by its table and on the device, where it can be measured."""

    predicted_ms: Positive
    measured_ms: Positive | None = None
    original_ms: Positive | None = None


class Candidate(Record):
    """A policy that was built and measured.

    Attributes:
        channels: the policy.
        score: accuracy on the validation split, before fine-tuning.
        predicted_ms: by the table.
        measured_ms: on the device; None where it cannot be measured.
        original_ms: the original network's, measured beside it.
        repaired: whether the search's policy was made smaller to fit.
        elsewhere: what it takes on further devices, by their names.
    """

    channels: Channels
    score: Number
    predicted_ms: Positive
    measured_ms: Positive | None = None
    original_ms: Positive | None = None
    repaired: bool = False
    elsewhere: dict[str, Elsewhere] = {}


class ChosenPolicy(FileRecord):
    """policy.json: the chosen channels, what each group costs, and every candidate that was measured.

    Attributes:
        episodes: how many were asked for when it was chosen.
        unverified: whether it was not measured.
        warnings: what its reader should know, a sentence each.
        unprunable: layers that keep all their channels, with the reason.
        image_size: (C, H, W) of the images; None where an earlier version wrote the file, or of other inputs.
        inputs: shapes and types of other inputs; see `amc_hw.tracing.inputs.described`.
        metric: what the scores are called.
    """

    episodes: Count | None = None
    channels: Annotated[Channels, Field(min_length=1)]
    original_channels: Channels = {}
    predicted_ms: Positive | None = None
    measured_ms: Positive | None = None
    unverified: bool = False
    warnings: list[str] = []
    groups: list[Group] = []
    unprunable: dict[str, str] = {}
    candidates: list[Candidate] = []
    image_size: Annotated[list[Count], Field(min_length=3, max_length=3)] | None = None
    inputs: JsonValue = None
    metric: str = TOP1

    @property
    def is_original(self) -> bool:
        """Whether nothing is pruned."""
        return self.channels == self.original_channels

    @property
    def chosen(self) -> Candidate | None:
        """The measurement of the chosen policy; None where there is none."""
        return next((each for each in reversed(self.candidates) if each.channels == self.channels), None)


class SparsePolicy(FileRecord):
    """sparsity.json: how many parts of its weights every layer keeps.

    Attributes:
        parts_of: into how many parts a layer's weights are divided.
        parts: kept of every layer.
        limit_bytes: the most bytes that may be non-zero.
    """

    parts_of: Count | None = None
    parts: Channels
    limit_bytes: Amount | None = None


class Epoch(Record):
    """One epoch of fine-tuning; accuracy is of the validation split."""

    epoch: Count
    train_loss: Number | None = None
    search_accuracy: Fraction | None = None


class Finetune(FileRecord):
    """finetune.json.

    Attributes:
        weights: SHA-256 of the weights in model.pt that it belongs to; not known of older runs.
        kept_epoch: whose weights they are; 0 for the pruned network as it was.
        search_split_learned: whether the validation split was learned, too.
        start_accuracy: of the pruned network, on the validation split.
        epochs: what each came to.
    """

    weights: str = ""
    kept_epoch: Count | None = None
    search_split_learned: bool = False
    start_accuracy: Fraction | None = None
    epochs: list[Epoch] = []


class Repeat(Record):
    """One repeat of a benchmark: every run's time in microseconds, warm-up left out.

    Attributes:
        samples_us: the times; where the device tells no single runs, their mean alone.
        statistics: what it tells of them instead.
    """

    samples_us: Annotated[list[Positive], Field(min_length=1)]
    statistics: dict[str, Number] = {}


class BenchmarkedModel(Record):
    """One model file's benchmark.

    Attributes:
        name: of the model.
        file: its name.
        latency_ms: what the repeats say.
        spread: distance between the slowest and the fastest repeat, as a share of the latency.
        doubt: the latency's standard error, as a share of it.
        unstable: whether the repeats disagree too much.
        repeats: every sample.
    """

    name: str
    file: str | None = None
    latency_ms: Positive | None = None
    spread: Amount | None = None
    doubt: Amount | None = None
    unstable: bool = False
    repeats: list[Repeat] = []


class Benchmark(FileRecord):
    """benchmark.json; ``device`` is a fingerprint, ``protocol`` says how often what ran."""

    device: DeviceFacts = {}
    protocol: Facts = {}
    models: list[BenchmarkedModel] = []
