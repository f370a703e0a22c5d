"""Curves for TensorBoard, where that is installed: every episode of a search, every epoch of a fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from amc_hw.budget.cost import Cost
from amc_hw.policy import Policy
from amc_hw.runs.folder import RunFolder
from amc_hw.search.study import StudyResult
from amc_hw.training.state import History

SEARCH, FINETUNE = "search", "finetune"
"""The folders of the curves: each counts its own steps, and what is purged of one must leave the other."""

Write = Callable[[int, Mapping[str, float], int], None]


@contextmanager
def episode_events(run: RunFolder, cost: Cost, original: Policy) -> Iterator[Callable[[StudyResult], None]]:
    """Yield what writes the last episode of a study that goes on, one step each; it does nothing without TensorBoard.

    Written are ``reward``, ``best_reward``, ``accuracy`` (0..1), ``cost/latency_ms`` (or the metric that the budget is
    of), ``seconds``, and ``kept/GROUP``, the share of a group's channels.

    Args:
        run: the run folder, before its study is gone on with.
        cost: the budget's.
        original: the original's channels.
    """
    recorded = run.episodes.recorded()
    with _writing(run.tensorboard / SEARCH) as write:

        def write_event(study: StudyResult) -> None:
            episode = study.episodes[-1]
            kept = {f"kept/{group}": episode.channels[group] / channels for group, channels in original.items()}
            values = {
                "reward": episode.reward,
                "best_reward": study.best.reward,
                "accuracy": episode.accuracy,
                f"cost/{cost.metric}": episode.cost,
                "seconds": episode.seconds,
            }
            write(episode.episode, values | kept, recorded)

        yield write_event


@contextmanager
def epoch_events(run: RunFolder) -> Iterator[Callable[[History], None]]:
    """Yield what writes the epochs of a training that goes on; it does nothing without TensorBoard.

    Written are ``train_loss`` and ``search_accuracy`` (0..1, on the validation split); step 0 is the network as it
    came.

    Args:
        run: the run folder.
    """
    with _writing(run.tensorboard / FINETUNE) as write:

        def write_event(history: History) -> None:
            recorded = len(history.losses) + 1
            write(0, {"search_accuracy": history.start_accuracy}, recorded)
            for epoch, (loss, accuracy) in enumerate(zip(history.losses, history.accuracies, strict=True), start=1):
                values = {"search_accuracy": accuracy} | ({} if loss is None else {"train_loss": loss})
                write(epoch, values, recorded)

        yield write_event


@contextmanager
def _writing(folder: Path) -> Iterator[Write]:
    """Yield what writes a step's scalars, in rising order and each step once; it is told the steps that are done.

    The steps that an earlier process has written stay. It may have been killed while it wrote the last of them, which
    is purged and written again; where it had no TensorBoard, all are written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except Exception:  # not installed, or broken, for example by a protobuf that it does not fit (a TypeError)
        yield lambda step, values, done: None
        return
    following = 0
    with ExitStack() as files:
        writers: list[SummaryWriter] = []

        def write(step: int, values: Mapping[str, float], done: int) -> None:
            nonlocal following
            if not writers:
                following = max(0, done - 1) if any(folder.glob("events.out.tfevents.*")) else 0
                writers.append(files.enter_context(SummaryWriter(str(folder), purge_step=following)))
            if step < following:
                return
            for name, value in values.items():
                writers[0].add_scalar(name, value, step)
            writers[0].flush()
            following = step + 1

        yield write
