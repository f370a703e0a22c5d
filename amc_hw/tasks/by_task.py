"""A user's task as the pipeline works with it: what comes from its functions is checked where it comes in."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import Data
from amc_hw.errors import AmcHwError, UnsupportedModelError, UsageError, in_one_line
from amc_hw.formats.file_network import FileNetwork
from amc_hw.formats.registry import load_file
from amc_hw.processes import process_count
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.search.scoring import NetworkScore, OwnScore
from amc_hw.tasks.classification import CALIBRATION_IMAGES
from amc_hw.tasks.goal import Finetuning, Goal, Writes, runnable
from amc_hw.tasks.inputs import drawn, gathered, running
from amc_hw.tasks.multi_label import classification
from amc_hw.tasks.task import OwnTask, Task
from amc_hw.tracing.inputs import moved, spread, taken, tensors_of, written_form
from amc_hw.tracing.same import SEVERAL, outputs
from amc_hw.training.compute import CPU
from amc_hw.training.epochs import Epochs, train_by_epochs
from amc_hw.training.state import History
from amc_hw.training.trial import tell

MOST_INPUTS = 4096
"""Inputs that are gathered for statistics and for ranges."""


def goal_of(source: Data | Task, model: nn.Module, compute: torch.device = CPU) -> Goal:
    """Return what a network is for, of a data set whose classes it tells apart or of a task.

    Raises:
        UsageError: a task without inputs, with some that are none, or with some that the network does not take.
        UnsupportedModelError: what the network gives for them is no tensors with the batch first.
    """
    if isinstance(source, Data):
        return classification(source.on(compute), compute)
    if source.inputs is None:
        raise UsageError("the task has no inputs; give it some hundreds of training inputs, as the network takes them.")
    inputs = gathered(source.inputs, model, MOST_INPUTS)
    return ByTask(source, inputs, _outputs(model, inputs), compute)


def require_task(task: object) -> None:
    """Refuse what is no task, before the first second of work.

    Raises:
        UsageError: a member is missing, or cannot be called as it will be.
    """
    if isinstance(task, str):
        raise UsageError(f"task={task!r} is a text; give the task itself, as amc_hw.OwnTask(...).")
    for name, arguments in (("score", (1,)), ("train", (1, 2, 3, 4)), ("test", (1,))):
        function = getattr(task, name, None)
        if not callable(function):
            is_none = " is None, and" if task is None else ""  # what a function forgot to return
            found = "" if function is None else f" that can be called (it is a {type(function).__name__})"
            raise UsageError(
                f"the task{is_none} has no {name}{found}; write a class with metric, inputs, score(model), test(model) "
                "and train(model, teacher, epoch, epochs), or give these functions to amc_hw.OwnTask."
            )
        try:
            inspect.signature(function).bind(*arguments)
        except TypeError as error:
            wanted = "model, teacher, epoch, epochs" if name == "train" else "model"
            raise UsageError(
                f"the task's {name} is called with ({wanted}), which it does not take: {error}."
            ) from error
        except ValueError:  # built in, its signature is not known
            continue
    if not isinstance(getattr(task, "metric", None), str) or not hasattr(task, "inputs"):
        raise UsageError(
            "the task needs a metric, its name as a text such as 'mean IoU', and inputs, which may be None."
        )


def with_inputs(task: Task, inputs: Any) -> Task:
    """Return a task with these inputs, where it has none of its own."""
    if task.inputs is None:
        return OwnTask(task.score, task.train, task.test, task.metric, inputs)
    if inputs is not None:
        tell("the task has inputs of its own, so those given beside it are left out")
    return task


@dataclass(frozen=True)
class ByTask:
    """A task of the user's own; see `amc_hw.tasks.goal.Goal`.

    Attributes:
        task: of the user's.
        inputs: training inputs, in one batch on the CPU.
        like: what the network gives for the first of them.
        compute: where tensors are worked on; a network is there when it is handed to the task.
    """

    task: Task
    inputs: Any
    like: Any
    compute: torch.device = CPU
    name: str = ""
    training_images: int = 0
    search_images: None = None
    test_images: None = None
    test_set: None = None

    @property
    def metric(self) -> str:
        """The task's."""
        return self.task.metric

    @property
    def data(self) -> Data:
        """There is none."""
        raise UsageError("the run has a task of its own and no data set of classes; this needs one.")

    @cached_property
    def example(self) -> Any:
        """The first of the inputs."""
        return taken(self.inputs, slice(1))

    def require_fit(self, model: nn.Module) -> None:
        """See `goal_of`, where the network has run."""

    def statistics(self, count: int, seed: int) -> tuple[Any, Tensor | None]:
        """Return some of the inputs; their classes are not known."""
        return moved(drawn(self.inputs, count, seed), self.compute), None

    def calibration(self) -> Any:
        """Return some of the inputs."""
        return drawn(self.inputs, CALIBRATION_IMAGES, 0)

    def score(self, write: Writes | None = None) -> NetworkScore:
        """Return the task's score, of the network or of its file."""
        if write is None:
            return OwnScore(lambda model: self._asked("score", model))
        return OwnScore(lambda model: self._score_of_file(write, model))

    def validate(self, model: nn.Module) -> float:
        """Return what the task's score says of a network."""
        return self._asked("score", model)

    def test(self, model: nn.Module) -> float:
        """Return what the task's test says of a network."""
        return self._asked("test", model)

    def test_file(self, file: Path, progress: Progress) -> float:
        """Return what the task's test says of a file."""
        progress(f"evaluating {file.name}")
        return self._asked("test", FileNetwork(load_file(file), self.example, self.like))

    def try_training(self, learner: nn.Module, teacher: nn.Module) -> str:
        """Ask for scores and a test, and let the task train a copy until its first gradients are there.

        Of the original, both must be figures: what they say of a smaller one that has lost too much is not held
        against the task.
        """
        for name in ("score", "test"):
            self._figure(name, teacher)
        self._asked("score", learner)
        trial = copy.deepcopy(learner).requires_grad_(True)
        for parameter in trial.parameters():
            parameter.register_post_accumulate_grad_hook(_stop)  # type: ignore[no-untyped-call]
        with torch.random.fork_rng([]), contextlib.suppress(_TriedError):
            self._learned(trial, teacher, 0, 1)
        return ""

    def finetune(self, learner: nn.Module, teacher: nn.Module, how: Finetuning) -> History:
        """Let the task train one epoch after the other; see `amc_hw.training.epochs.train_by_epochs`."""
        if process_count() > 1:
            raise UsageError("a task of your own trains in one process; start without torchrun.")
        epochs = Epochs(
            learn=lambda epoch: self._learned(learner, teacher, epoch, how.epochs),
            score=lambda: self._asked("score", learner),
            metric=self.metric,
            count=how.epochs,
            seed=how.seed,
        )
        return train_by_epochs(learner, epochs, progress=how.progress, state_path=how.state, listener=how.listener)

    def short_finetune(
        self, learner: nn.Module, teacher: nn.Module, macs: float, seed: int, progress: Progress = SILENT
    ) -> None:
        """Let the task train one epoch."""
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self._learned(learner, teacher, 0, 1)

    def _score_of_file(self, write: Writes, model: nn.Module) -> float:
        file = runnable(write, model)
        return 0.0 if file is None else self._asked("score", FileNetwork(file, self.example, self.like))

    def _asked(self, name: str, model: nn.Module) -> float:
        """Return what a function of the task says of a network: 0 where that is less, or NaN."""
        number = self._number(name, model)
        if number >= 0:
            return number
        _say_worthless(name)
        return 0.0

    def _figure(self, name: str, model: nn.Module) -> float:
        """Return what a function of the task says of a network of which it must be a fraction."""
        if not (number := self._number(name, model)) >= 0:
            raise UsageError(
                f"the task's {name} gives {number:g} for the original; return a number from 0 to 1 that is larger for "
                "better networks."
            )
        return number

    def _number(self, name: str, model: nn.Module) -> float:
        with torch.no_grad(), _handed(model, self.compute) as network:
            value = _called(name, getattr(self.task, name), network)
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the task's {name} gives a {type(value).__name__}; return a number from 0 to 1."
            ) from error
        if number > 1:
            raise UsageError(
                f"the task's {name} gives {number:g}; return a number from 0 to 1 that is larger for better networks."
            )
        return number

    def _learned(self, learner: nn.Module, teacher: nn.Module, epoch: int, epochs: int) -> float | None:
        learner.requires_grad_(True)
        with _handed(learner, self.compute) as network, _handed(teacher, self.compute) as original:
            network.train()
            loss = _called("train", self.task.train, network, original, epoch, epochs)
        try:
            return None if loss is None else float(loss)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the task's train gives a {type(loss).__name__}; return the mean loss or None."
            ) from error


@functools.cache  # once is enough
def _say_worthless(name: str) -> None:
    tell(f"the task's {name} gives less than 0, or NaN, for a network that has lost too much; that counts as 0")


class _TriedError(BaseException):
    """Ends a training that was only tried; no ``except Exception`` of the task's takes it for a fault."""


def _stop(parameter: Tensor) -> None:
    raise _TriedError


@contextmanager
def _handed(model: nn.Module, compute: torch.device) -> Iterator[nn.Module]:
    """Hand a network over: in evaluation mode, called as its author has it, where tensors are worked on."""
    model.eval()  # a simulated network looks at its ranges then: of the weights that it has now
    runs_here = isinstance(model, FileNetwork)
    home = next((each.device for each in model.parameters()), CPU)
    try:
        with written_form(model):
            yield model if runs_here else model.to(compute)
    finally:
        model.to(home)
        if model.training:
            model.eval()


def _called(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the task; tell what goes wrong in it in a sentence."""
    try:
        return function(*arguments)
    except AmcHwError:
        raise
    except Exception as error:  # the user's code may raise anything
        what = in_one_line(error, 300)
        frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is this function's
        own = [each for each in frames if "site-packages" not in each.filename] or frames
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        raise UsageError(f"the task's {name} fails: {what}{where}; correct it, and run the same again.") from error


def _outputs(model: nn.Module, inputs: Any) -> Any:
    """Return what a network gives for one input, once it is known to take several.

    Raises:
        UsageError: it does not.
        UnsupportedModelError: what it gives is no tensors with the batch first.
    """
    with running("the task's inputs"):
        several, one = (outputs(spread(model, inputs), taken(inputs, slice(count))) for count in (SEVERAL, 1))
    given = tensors_of(several)
    if not given or any(not tensor.dim() or len(tensor) != SEVERAL for tensor in given):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given) or type(several).__name__
        raise UnsupportedModelError(
            f"the network gives {shapes} for {SEVERAL} inputs; it must give tensors with the batch first."
        )
    return one
