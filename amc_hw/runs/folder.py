"""A run's folder: it alone knows what the files in it are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from amc_hw.policy import Precision
from amc_hw.runs import file_names as names
from amc_hw.runs.files import damaged, read_json
from amc_hw.runs.record_files import EpisodeLog, LinesFile, RecordFile
from amc_hw.runs.records import (
    Benchmark,
    ChosenPolicy,
    Contender,
    Finetune,
    Miss,
    OriginalTimes,
    PrecisionChoice,
    SparsePolicy,
)
from amc_hw.runs.shared import Known, ScoredImages
from amc_hw.runs.smaller import SmallerNetworks
from amc_hw.runs.speed import Speed
from amc_hw.runs.summaries import Summary, Tested
from amc_hw.runs.values import Facts


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, whether they are there or not.

    Attributes:
        path: of the folder.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> Path:
        """The settings: `amc_hw.runs.config.RunConfig`."""
        return self.path / names.CONFIG

    @property
    def table(self) -> Path:
        """The latency table as it was when the search began."""
        return self.path / names.TABLE

    @property
    def baseline(self) -> Path:
        """The trained weights that are compressed."""
        return self.path / names.BASELINE

    @property
    def agent(self) -> Path:
        """The agent that the search trained."""
        return self.path / names.AGENT

    @property
    def first_agent(self) -> Path:
        """A copy of the agent that the search began with, so that it can go on without the other run."""
        return self.path / names.FIRST_AGENT

    @property
    def episodes(self) -> EpisodeLog:
        """The log of the search."""
        return EpisodeLog(self.path / names.EPISODES)

    @property
    def original_times(self) -> RecordFile[OriginalTimes]:
        """What the original takes in fp32 and in the precision that ships."""
        return RecordFile(self.path / names.ORIGINAL_TIMES, OriginalTimes)

    @property
    def speed(self) -> RecordFile[Speed]:
        """How fast the device was as the search began."""
        return RecordFile(self.path / names.SPEED, Speed)

    @property
    def precision(self) -> RecordFile[PrecisionChoice]:
        """What the original takes in each precision, and which one was chosen for it."""
        return RecordFile(self.path / names.PRECISION, PrecisionChoice)

    @property
    def smaller(self) -> RecordFile[SmallerNetworks]:
        """What smaller networks take and score, before the search."""
        return RecordFile(self.path / names.SMALLER, SmallerNetworks)

    @property
    def sample(self) -> RecordFile[ScoredImages]:
        """The images of the validation split that policies are scored on."""
        return RecordFile(self.path / names.SAMPLE, ScoredImages)

    @property
    def known(self) -> LinesFile[Known]:
        """The policies that other runs of the sweep had scored when the search began."""
        return LinesFile(self.path / names.KNOWN, Known)

    @property
    def winners(self) -> LinesFile[Known]:
        """The policies that were best of their runs after a short fine-tune, with what they scored then."""
        return LinesFile(self.path / names.WINNERS, Known)

    @property
    def originals(self) -> list[Path]:
        """The original network's exported files that are there."""
        others = {names.ORIGINAL_TIMES}
        return sorted(file for file in self.path.glob(f"{names.ORIGINAL}[.-]*") if file.name not in others)

    @property
    def shortlist(self) -> LinesFile[Contender]:
        """What short fine-tunes made of the best policies."""
        return LinesFile(self.path / names.SHORTLIST, Contender)

    @property
    def misses(self) -> LinesFile[Miss]:
        """The policies that the last benchmark found over the budget."""
        return LinesFile(self.path / names.MISSES, Miss)

    @property
    def tested(self) -> LinesFile[Tested]:
        """What the test set said of files and networks; it is asked once of each."""
        return LinesFile(self.path / names.TESTED, Tested)

    @property
    def policy(self) -> RecordFile[ChosenPolicy]:
        """The chosen policy."""
        return RecordFile(self.path / names.POLICY, ChosenPolicy)

    @property
    def sparsity(self) -> RecordFile[SparsePolicy]:
        """What a search of single weights chose."""
        return RecordFile(self.path / names.SPARSITY, SparsePolicy)

    @property
    def pruned(self) -> Path:
        """Weights of the chosen policy's network before fine-tuning."""
        return self.path / names.PRUNED

    @property
    def finetuned(self) -> Path:
        """Weights after fine-tuning."""
        return self.path / names.FINETUNED

    @property
    def best_weights(self) -> Path:
        """The furthest weights: fine-tuned, also where that file is lost, or only pruned."""
        return self.finetuned if self.finetuned.exists() or self.finetune.path.exists() else self.pruned

    @property
    def finetune(self) -> RecordFile[Finetune]:
        """The epochs of the fine-tuning."""
        return RecordFile(self.path / names.FINETUNE, Finetune)

    @property
    def benchmark(self) -> RecordFile[Benchmark]:
        """Every sample of the last benchmark."""
        return RecordFile(self.path / names.BENCHMARK, Benchmark)

    @property
    def logs(self) -> Path:
        """The folder of what the device's runtime said in the last benchmark."""
        return self.path / names.LOGS

    @property
    def summary(self) -> RecordFile[Summary]:
        """What the run came to."""
        return RecordFile(self.path / names.SUMMARY, Summary)

    @property
    def report(self) -> Path:
        """The page to show around."""
        return self.path / names.REPORT

    @property
    def tensorboard(self) -> Path:
        """The folder of the curves."""
        return self.path / names.TENSORBOARD

    @property
    def shown(self) -> Path:
        """What the run's process showed, where it is one of several."""
        return self.path / names.SHOWN

    def finetune_state(self, epochs: int | None = None) -> Path:
        """Return where a fine-tuning of so many epochs keeps its state, for going on."""
        return self.path / names.FINETUNE_STATE.format("" if epochs is None else f"-{epochs}")

    def original(self, format_name: str, precision: Precision = "fp32") -> Path:
        """Return the original network's exported file."""
        ending = "" if precision == "fp32" else f"-{precision}"
        return self.path / f"{names.ORIGINAL}{ending}.{format_name}"

    def model(self, format_name: str) -> Path:
        """Return the compressed network's exported file, in the precision that ships."""
        return self.path / f"{names.MODEL}.{format_name}"

    def float_model(self, format_name: str) -> Path:
        """Return the compressed network's file in fp32, where another precision ships."""
        return self.path / f"{names.MODEL}-fp32.{format_name}"

    def smaller_file(self, format_name: str, number: int) -> Path:
        """Return the exported file of a smaller network, counted from 1, in the precision that ships."""
        return self.path / f"{names.SMALLER_FILE.format(number)}.{format_name}"

    def candidate(self, format_name: str) -> Path:
        """Return the exported file of a network that is being measured."""
        return self.path / f"{names.CANDIDATE}.{format_name}"

    def round(self, number: int) -> RunFolder:
        """Return the folder of an earlier round, counted from 1."""
        return RunFolder(self.path / names.ROUND.format(number))

    def on_device(self, number: int) -> RunFolder:
        """Return the folder of a further device's table, files and benchmark, counted from 2."""
        return RunFolder(self.path / names.ON_DEVICE.format(number))

    def settings(self) -> Facts:
        """Return the settings for people to read, of whatever version; none where the file is missing.

        Raises:
            RunFolderError: the file is damaged.
        """
        document = read_json(self.config) if self.config.exists() else {}
        if not isinstance(document, dict):
            raise damaged(self.config, "its root is no object")
        return document

    def has_episodes(self) -> bool:
        """Tell whether a policy was scored, in this round or in an earlier one."""
        return any(self.path.rglob(names.EPISODES))

    def invalidate_after_search(self, formats: Iterable[str]) -> None:
        """Delete what was made of an earlier policy: its fine-tuning, exported files, benchmark and summary.

        Args:
            formats: that the network may have been exported to.
        """
        made = [self.finetuned, self.finetune.path, self.summary.path, self.benchmark.path]
        made += [file(each) for each in formats for file in (self.model, self.float_model)]
        for stale in [*made, *self.path.glob(names.FINETUNE_STATES)]:
            stale.unlink(missing_ok=True)
