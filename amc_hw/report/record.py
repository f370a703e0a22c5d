"""A run folder's files as values: every file is optional, and a file that is there is checked once, here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amc_hw.errors import RunFolderError, WrongRunError
from amc_hw.runs.files import maker, read_json

FORMAT = 1

# Bounds far outside of anything real: they keep damaged numbers out of the arithmetic.
Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=1e-9, le=1e15, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Channels = dict[str, Count]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _File(_Part):
    format: Literal[1]


class Header(_File):
    """The first line of episodes.jsonl."""

    settings: dict[str, Any] = {}


class Episode(_Part):
    """One further line of episodes.jsonl: a policy and what the search split thought of it."""

    episode: Count
    channels: Channels = {}
    accuracy: Fraction
    reward: Number
    latency_ms: Amount | None = None


class Group(_Part):
    """One channel group of the chosen policy; latencies are predicted, of all operators the group touches."""

    name: str
    original: Annotated[int, Field(ge=1, le=10**15)]
    kept: Count
    latency_ms_original: Amount | None = None
    latency_ms_kept: Amount | None = None


class Candidate(_Part):
    """A policy that was measured on the device before one was chosen."""

    channels: Channels
    score: Number | None = None
    predicted_ms: Positive | None = None
    measured_ms: Positive | None = None
    repaired: bool = False


class ChosenPolicy(_File):
    """policy.json."""

    channels: Channels
    original_channels: Channels = {}
    groups: list[Group] = []
    candidates: list[Candidate] = []
    unverified: bool = False
    warnings: list[str] = []
    predicted_ms: Positive | None = None
    measured_ms: Positive | None = None


class Epoch(_Part):
    """One epoch of fine-tuning; accuracy is of the search split."""

    epoch: Count
    train_loss: Number | None = None
    search_accuracy: Fraction | None = None


class Finetune(_Part):
    """finetune.json."""

    search_split_learned: bool = False
    epochs: list[Epoch] = []


class Repeat(_Part):
    """One repeat of a benchmark: every run's time in microseconds, warm-up left out."""

    samples_us: Annotated[list[Positive], Field(min_length=1)]


class BenchmarkedModel(_Part):
    """One model file's benchmark; latency_ms is what the repeats say, doubt its error as a share."""

    name: str
    file: str | None = None
    repeats: list[Repeat] = []
    unstable: bool = False
    doubt: Amount | None = None
    latency_ms: Positive | None = None


class Benchmark(_File):
    """benchmark.json."""

    device: dict[str, Any] = {}
    protocol: dict[str, Any] = {}
    models: list[BenchmarkedModel] = []


class Budget(_Part):
    """What the search had to stay under."""

    metric: str
    target: Positive
    ratio: Positive | None = None


class Figures(_Part):
    """What is known of the original or of the compressed network."""

    accuracy: Fraction | None = None
    accuracy_before_finetune: Fraction | None = None
    latency_ms: Positive | None = None
    predicted_ms: Positive | None = None
    macs: Amount | None = None
    params: Amount | None = None
    size_bytes: Amount | None = None

    def value(self, metric: str) -> float | None:
        """Return the value of a budget's metric, or None where it is not known."""
        value: float | None = getattr(self, metric) if metric in type(self).model_fields else None
        return value


class SearchFacts(_Part):
    """How the policy was found."""

    strategy: str | None = None
    episodes: Count | None = None
    seconds: Amount | None = None
    seed: int | None = None


class Summary(_File):
    """summary.json."""

    model: str = ""
    data: str = ""
    device: dict[str, Any] = {}
    budget: Budget | None = None
    limits: list[Budget] = []
    original: Figures = Figures()
    compressed: Figures = Figures()
    search: SearchFacts = SearchFacts()
    artifacts: dict[str, str] = {}
    unverified: bool = False
    test_images: Count | None = None


@dataclass(frozen=True)
class Run:
    """Everything that a run folder holds; None or empty where a step has not been taken yet."""

    folder: Path
    config: dict[str, Any]
    episodes: list[Episode]
    policy: ChosenPolicy | None
    finetune: Finetune | None
    benchmark: Benchmark | None
    summary: Summary | None

    @property
    def device(self) -> dict[str, Any]:
        """The fingerprint of the device; empty before anything was measured."""
        for part in (self.benchmark, self.summary):
            if part is not None and part.device:
                return part.device
        return {}

    def fact(self, name: Literal["model", "data", "device"]) -> str:
        """Return the name of the model, the data or the device, or "" where no file says it."""
        said = getattr(self.summary, name, "") if name != "device" else _device_name(self.device)
        return str(said or self.config.get(name) or "")


def read_run(folder: Path) -> Run:
    """Read what a run folder holds, complete or half finished.

    Raises:
        WrongRunError: it is no run folder, or nothing was done in it yet.
        RunFolderError: one of its files is damaged; the message names the file.
    """
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    if not isinstance(config, dict):
        raise _damaged(folder / "config.json", "its root is no object")
    run = Run(
        folder=folder,
        config=config,
        episodes=_read_episodes(folder / "episodes.jsonl"),
        policy=_read(folder / "policy.json", ChosenPolicy),
        finetune=_read(folder / "finetune.json", Finetune),
        benchmark=_read(folder / "benchmark.json", Benchmark),
        summary=_read(folder / "summary.json", Summary),
    )
    if not (config or run.episodes or run.policy or run.benchmark or run.summary):
        raise WrongRunError(
            f"{folder} is no run folder, or nothing was done in it yet; name the folder given with --run."
        )
    return run


_Model = TypeVar("_Model", bound=_Part)


def _read(path: Path, kind: type[_Model]) -> _Model | None:
    return _checked(path, kind, read_json(path)) if path.exists() else None


def _read_episodes(path: Path) -> list[Episode]:
    """Read without mending: the search may be appending to this very file."""
    if not path.exists():
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}.") from error
    episodes = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        where = f"line {number}"
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"{where}: {error}") from error
        if number == 1:
            _checked(path, Header, document, where)
        else:
            episodes.append(_checked(path, Episode, document, where))
    return episodes


def _checked(path: Path, kind: type[_Model], document: Any, where: str = "") -> _Model:
    found = document.get("format") if isinstance(document, dict) else None
    if issubclass(kind, _File) and isinstance(found, int) and found != FORMAT:
        raise RunFolderError(
            f"{path} has format {found}, and this version reads format {FORMAT}; use the one that wrote it."
        )
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join([where, *map(str, first["loc"])] if where else map(str, first["loc"]))
        raise _damaged(path, f"{place or 'the root'}: {first['msg']}") from error


def _damaged(path: Path, reason: str) -> RunFolderError:
    cure = (
        "delete that line and all lines after it: the command that searched goes on from there"
        if reason.startswith("line ")
        else f"delete it and make it again with: {maker(path)}"
    )
    return RunFolderError(f"{path} is damaged ({reason}); {cure}")


def _device_name(fingerprint: dict[str, Any]) -> str:
    names = (fingerprint.get(key) for key in ("device", "name", "model", "processor"))
    return next((name for name in names if isinstance(name, str) and name), "")
