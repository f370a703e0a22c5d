"""The settings of one compression, as they stand in a run folder's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from amc_hw.errors import UsageError, unknown_name
from amc_hw.policy import Io, Metric, Precision, PrecisionSetting, as_precision
from amc_hw.runs.device_names import for_each_device
from amc_hw.runs.names import IMPORTANCES, REWARDS, STRATEGIES, listed
from amc_hw.runs.smaller import by_name
from amc_hw.runs.versions import library_versions
from amc_hw.runs.wanted import budget_text, wanted

DEMO_MODEL, DEMO_DATA = "mobilenet_v1_cifar_0.5", "digits"
"""The demonstration trains its own network; every other run brings a checkpoint."""

CLASSIFY = "classify"
"""The task of a network that tells the classes of a data set apart."""


def _absolute(path: object) -> object:
    """Return a path as a run keeps it: the same wherever the run goes on."""
    return str(Path(path).expanduser().resolve()) if isinstance(path, str | Path) else path


def _split(texts: object) -> object:
    """Take one text with commas for a list."""
    return texts.split(",") if isinstance(texts, str) else texts


ABSOLUTE = BeforeValidator(_absolute)
"""Marks a setting that is a path."""
COMMAS = BeforeValidator(_split)
"""Marks a list that is written as one text with commas."""
_File = Annotated[str | None, ABSOLUTE]


class Budgets(BaseModel):
    """The budgets as users name them; of several, all hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    latency: str | None = Field(
        None, description="latency budget: 0.5x of the original's in fp32, 0.5x-int8 of it in int8, or 12ms"
    )
    macs: str | None = Field(None, description="budget of multiply-accumulates: 0.5x, or 150M")
    params: str | None = Field(None, description="budget of parameters: 0.5x, or 2M")
    size: str | None = Field(None, description="budget of the exported file: 0.5x, or 500kB")


METRICS: dict[str, Metric] = {"latency": "latency_ms", "macs": "macs", "params": "params", "size": "size_bytes"}
"""What each of the budgets counts."""


class RunConfig(BaseModel):
    """Everything that decides what a run does.

    A field with a description is a setting of the commands that search and of `amc_hw.compress`: its type, its default
    and what it means are written here alone. A title is what its value is called in a command's help.

    Attributes:
        metric: what the budget counts.
        budget: ``0.5x`` or an absolute value with its unit.
        limits: budgets on other metrics that hold at the same time.
        others: further devices that the network must be fast enough on, each with its latency budget.
        granularity: what is removed, whole channels or single weights.
        scored: what the scores are called, where it is not top-1 accuracy; known once a run has begun.
        command: what was typed.
        versions: of the libraries.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    format: Literal[1] = 1
    model: str = Field(DEMO_MODEL, description="of the zoo, torchvision:NAME, timm:NAME, or path/to/file.py:function")
    checkpoint: _File = Field(None, description="file with the trained weights")
    data: str = Field(DEMO_DATA, description="digits, cifar10, imagenet, imagefolder:DIR or npz:DIR")
    data_root: _File = Field(None, description="folder of cifar10 or imagenet")
    task: str = Field(
        CLASSIFY,
        description="what is good: classify (top-1 accuracy on the data, mean average precision where an image has "
        "several labels), or your own path/to/file.py:object",
    )
    smaller: Annotated[dict[str, str], BeforeValidator(by_name)] = Field(
        {},
        title="NAME=CHECKPOINT",
        description="a smaller network with trained weights for the same data, which pruning has to beat; repeatable",
    )
    image_size: int | None = Field(
        None,
        ge=8,
        description="side of the images in pixels; by default that of the data, where its images have one size, or "
        "what the model was designed for",
    )
    device: str = Field(
        "host", description="host, onnx, cuda, ssh:user@host:onnx, pixel1, android:SERIAL ...; see: amc-hw devices"
    )
    table: _File = Field(
        None, description="latency table to use and extend; by default one for each device in the user's cache"
    )
    precision: PrecisionSetting = Field(
        "auto",
        description="precision that ships, in which is measured, scored, fine-tuned and exported: fp32, fp16, bf16, "
        "int8, int8-dynamic, int16x8, or the one of them that keeps most accuracy within the budget (auto)",
    )
    io: Io = Field(
        "float32",
        description="what files of int8 take and give: float32, or int8 by the scale and zero point that stand in them",
    )
    metric: Metric = "latency_ms"
    budget: str = "0.5x"
    limits: dict[Metric, str] = {}
    others: dict[str, str] = {}
    rounds: Annotated[tuple[str, ...], COMMAS] = Field(
        (), description="larger budgets to prune and fine-tune to first, with commas between them: 0.5x,0.35x,0.25x"
    )
    granularity: Literal["channels", "weights"] = "channels"
    keep_blocks: bool = Field(False, description="leave no residual block out, prune channels only")
    exclude: tuple[str, ...] = Field(
        (), title="PATTERN", description="layers that keep all their channels: classifier, 'layer1.*'; repeatable"
    )
    include: tuple[str, ...] = Field(
        (), title="PATTERN", description="the only layers that may lose channels: 'layer3.*'; repeatable"
    )
    multiple: int = Field(
        8, ge=1, description="channel counts are multiples of it, a power of two; finer in narrow groups"
    )
    lower: float = Field(0.2, gt=0, le=1, description="smallest keep ratio of a channel group")
    importance: str = Field("reconstruction", description=f"which channels a group keeps: {listed(IMPORTANCES)}")
    reward: str = Field(
        "resource", description="resource (-Error within the budget) or accuracy_guaranteed (-Error x log(cost))"
    )
    accuracy_floor: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="with accuracy_guaranteed: least accuracy before fine-tuning, on the validation split: 0.9",
    )
    strategy: str = Field("auto", description=listed(STRATEGIES))
    agent: _File = Field(
        None, description="with ddpg-multi: folder of an earlier run whose trained agent to begin with"
    )
    episodes: int = Field(100, ge=1, description="policies to score")
    epochs: int = Field(10, ge=0, description="epochs of fine-tuning")
    seed: int = Field(0, ge=0, description="decides everything that chance plays a part in")
    scored: str = ""
    command: str = ""
    versions: dict[str, str] = {}

    @property
    def known_precision(self) -> Precision:
        """The precision that ships; fp32 as long as it is not chosen."""
        return "fp32" if self.precision == "auto" else self.precision

    @field_validator("strategy", "reward", "importance")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        known = {"strategy": STRATEGIES, "reward": REWARDS, "importance": IMPORTANCES}[str(info.field_name)]
        if name not in known:
            field = str(info.field_name)
            raise unknown_name(field, name, known, field)
        return name

    @field_validator("precision", mode="before")
    @classmethod
    def _precision(cls, name: object) -> PrecisionSetting:
        return "auto" if name == "auto" else as_precision(str(name))

    @field_validator("exclude", "include", mode="before")
    @classmethod
    def _a_list(cls, patterns: object) -> object:
        if isinstance(patterns, str):
            raise ValueError(f"'{patterns}' is one text where a list of texts is needed")
        if isinstance(patterns, list | tuple) and "" in patterns:
            raise ValueError("an empty pattern matches no layer; leave it out, or name layers such as 'layer1.*'")
        return patterns

    @field_validator("exclude")
    @classmethod
    def _leaves_some(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in patterns:
            raise ValueError("* leaves no layer to prune; name fewer layers, such as 'layer1.*'")
        return patterns

    @field_validator("multiple")
    @classmethod
    def _power_of_two(cls, number: int) -> int:
        if number & (number - 1):
            raise ValueError(f"{number} is no power of two; write for example 8")
        return number


Settings: TypeAlias = Mapping[str, Any]
"""Settings by their names, as `make_config` takes them."""


def user_settings() -> dict[str, FieldInfo]:
    """Return what users set, by name: the described fields of `RunConfig`, with those of `Budgets` for its metric."""
    found: dict[str, FieldInfo] = {}
    for name, field in RunConfig.model_fields.items():
        if field.description:
            found[name] = field
        if name == "metric":
            found |= Budgets.model_fields
    return found


def make_config(**given: Any) -> RunConfig:
    """Check settings one by one and return them with the versions of the libraries.

    Args:
        given: fields of `RunConfig` and `Budgets`; the first budget that is given is the run's metric, the others are
            limits beside it.

    Raises:
        UsageError: a setting that does not exist (the message says the nearest), or a value that it cannot have.
    """
    for name in given:
        if name not in {**RunConfig.model_fields, **Budgets.model_fields}:
            raise unknown_name("setting", name, user_settings())
    given = dict(for_each_device(given))
    texts = {name: given.pop(name) for name in METRICS if name in given}
    budgets = {METRICS[name]: budget_text(name, text) for name, text in texts.items() if text is not None}
    if budgets:
        metric, *others = budgets
        given |= {"metric": metric, "budget": budgets[metric], "limits": {name: budgets[name] for name in others}}
    if given.get("task", CLASSIFY) != CLASSIFY:
        data = given.get("data")
        require_task_inputs(data=None if data in ("", DEMO_DATA) else data, image_size=given.get("image_size"))
        given["data"] = ""
    try:
        return RunConfig(**{**given, "versions": library_versions()})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "value_error":  # a sentence of a validator's
            raise UsageError(f"{name}: {first['msg'].removeprefix('Value error, ')}.") from error
        raise UsageError(f"{name}: {wanted(RunConfig.model_fields[name])}, not {given[name]!r}.") from error


def require_task_inputs(**given: object) -> None:
    """Raise UsageError where a setting that says what inputs are stands beside a task; None is not given."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"a task brings its own inputs; leave {name}= out.")
