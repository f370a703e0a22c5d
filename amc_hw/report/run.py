"""What a report is drawn from: everything that a run folder holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from amc_hw.errors import WrongRunError
from amc_hw.policy import MEAN_AP, TOP1
from amc_hw.runs.config import CLASSIFY
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import Benchmark, ChosenPolicy, Episode, Finetune, PrecisionChoice
from amc_hw.runs.smaller import SmallerNetworks
from amc_hw.runs.summaries import Summary
from amc_hw.runs.values import Facts


@dataclass(frozen=True)
class Run:
    """A run, finished or not; None or empty where a step has not been taken yet.

    Attributes:
        further: the last benchmark on each further device of a run for several, by its name.
    """

    folder: RunFolder
    config: Facts
    episodes: list[Episode]
    policy: ChosenPolicy | None
    finetune: Finetune | None
    benchmark: Benchmark | None
    summary: Summary | None
    precision: PrecisionChoice | None = None
    further: dict[str, Benchmark | None] = field(default_factory=dict)
    smaller: SmallerNetworks | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the original was chosen as it is, so that nothing had to be searched."""
        return self.policy is not None and not self.episodes and self.policy.is_original

    @property
    def metric(self) -> str:
        """What the accuracies are called."""
        for record in (self.summary, self.policy):
            if record is not None:
                return record.metric
        known = self.config.get("scored")
        return str(known) if known else TOP1 if self.config.get("task", CLASSIFY) == CLASSIFY else "score"

    @property
    def split(self) -> str:
        """What the scores of a search are on."""
        return "validation split" if self.metric in (TOP1, MEAN_AP) else "validation inputs"

    @property
    def device(self) -> Facts:
        """The fingerprint of the device; empty before anything was measured."""
        for part in (self.benchmark, self.summary):
            if part is not None and part.device:
                return part.device
        return {}

    def fact(self, name: Literal["model", "data", "device"]) -> str:
        """Return the name of the model, the data or the device, or "" where no file says it."""
        said = getattr(self.summary, name, "") if name != "device" else _device_name(self.device)
        return str(said or self.config.get(name) or "")


def read_run(folder: RunFolder) -> Run:
    """Read what a run folder holds, complete or half finished; a search may be writing it.

    Raises:
        WrongRunError: it is no run folder, or nothing was done in it yet.
        RunFolderError: one of its files is damaged; the message names the file.
    """
    logged = folder.episodes.read(mend=False)
    logged.warn("they are left out")
    config = folder.settings()
    run = Run(
        folder=folder,
        config=config,
        episodes=logged.episodes,
        policy=folder.policy.find(),
        finetune=folder.finetune.find(),
        benchmark=folder.benchmark.find(),
        summary=folder.summary.find(),
        precision=folder.precision.find(),
        further=_further(folder, config),
        smaller=folder.smaller.find(),
    )
    if not (run.config or run.episodes or run.policy or run.benchmark or run.summary):
        raise WrongRunError(
            f"{folder} is no run folder, or nothing was done in it yet; name the folder that was given as run=."
        )
    return run


def _further(folder: RunFolder, config: Facts) -> dict[str, Benchmark | None]:
    names = config.get("others")
    if not isinstance(names, dict):
        return {}
    return {name: folder.on_device(number).benchmark.find() for number, name in enumerate(names, start=2)}


def _device_name(fingerprint: Facts) -> str:
    names = (fingerprint.get(key) for key in ("device", "name", "model", "processor"))
    return next((name for name in names if isinstance(name, str) and name), "")
