"""The outputs of the original as the task: no labels are needed, only inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from amc_hw.errors import UsageError
from amc_hw.tasks.inputs import drawn, gathered, running
from amc_hw.tracing.inputs import called, is_float, moved, parts, size_of, taken, tensors_of, written_form

Measure = Literal["error", "agreement"]

HELD_OUT, MOST_HELD_OUT = 0.1, 512
"""Share of the inputs that scores are on, and again of those of the test; and how many of each there are at most."""
_METRICS: dict[Measure, str] = {
    "error": "closeness to the original's outputs",
    "agreement": "agreement with the original",
}


class OriginalOutputs:
    """A task that is to give what the original gives (`amc_hw.tasks.task.Task`); it learns by distillation.

    Args:
        model: the original, trained.
        inputs: hundreds or thousands of inputs, of which a tenth is held out for scores and a tenth for the test: a
            batch as the network takes it, or a list or a DataLoader of batches; see `amc_hw.tasks.inputs.gathered`.
        measure: ``error`` scores by 1 - the relative error of the outputs (root mean square of the difference by that
            of the original's outputs about their mean, not below 0), ``agreement`` by the share of places at which the
            largest of the first output's channels is the same, for scores of classes.
        layers: names of layers whose results are learned, too; these have to keep all their channels (``exclude``).
        lr: the highest learning rate, of AdamW.
        batch_size: inputs a step.

    Raises:
        UsageError: inputs that are none or that the network does not take, an unknown layer or measure, or one that the
            outputs do not have.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        *,
        measure: Measure = "error",
        layers: Sequence[str] = (),
        lr: float = 1e-3,
        batch_size: int = 32,
    ) -> None:
        if measure not in _METRICS:
            raise UsageError(f"measure= takes {' or '.join(_METRICS)}, not {measure!r}.")
        known = dict(model.named_modules())
        if missing := [name for name in layers if name not in known]:
            raise UsageError(f"the network has no layer '{missing[0]}'; layers= takes names of model.named_modules().")
        self.metric = _METRICS[measure]
        self._measure, self._layers, self._lr, self._batch = measure, tuple(layers), lr, batch_size
        everything = gathered(inputs, model)
        everything = drawn(everything, size_of(everything), 0)
        held = min(MOST_HELD_OUT, max(1, int(HELD_OUT * size_of(everything))))
        self._validation, self._test = (taken(everything, slice(i * held, (i + 1) * held)) for i in range(2))
        self.inputs = taken(everything, slice(2 * held, None))
        with written_form(model), torch.no_grad(), running("the inputs"):
            model.eval()
            self._targets = [_given(model, each, batch_size) for each in (self._validation, self._test)]
        if measure == "agreement" and not _has_channels(self._targets[0]):
            raise UsageError("the first output has no channels that could agree; take measure=error.")

    def score(self, model: nn.Module) -> float:
        """Return how near a network's outputs are to the original's on inputs that it does not learn."""
        return self._near(model, self._validation, self._targets[0])

    def test(self, model: nn.Module) -> float:
        """Return the same of inputs that no choice was made by."""
        return self._near(model, self._test, self._targets[1])

    def train(self, model: nn.Module, teacher: nn.Module, epoch: int, epochs: int) -> float:
        """Learn the teacher's outputs for one epoch, by the mean squared error relative to their variance."""
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), self._lr)
        place = _place(model)
        order = torch.randperm(size_of(self.inputs), generator=torch.Generator().manual_seed(epoch))
        batches = [batch for batch in torch.split(order, self._batch) if len(batch) > 1 or len(order) == 1]
        total = 0.0
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                done = (epoch + step / len(batches)) / epochs
                group["lr"] = self._lr * 0.5 * (1 + math.cos(math.pi * done))
            inputs = moved(taken(self.inputs, batch), place)
            with torch.no_grad(), _noted(teacher, self._layers) as wanted:
                wanted += _floats(called(teacher, inputs))
            with _noted(model, self._layers) as learned:
                learned += _floats(called(model, inputs))
            self._require_alike(learned, wanted)
            loss = torch.stack([_relative(mine, theirs) for mine, theirs in zip(learned, wanted, strict=True)]).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += float(loss.detach())
        model.eval()
        return total / len(batches)

    def _near(self, model: nn.Module, inputs: Any, targets: list[Tensor]) -> float:
        with torch.no_grad():
            given = _given(model, inputs, self._batch)
        self._require_alike(given, targets)
        if self._measure == "agreement":
            return float((given[0].argmax(1) == targets[0].argmax(1)).double().mean())
        errors = [float(_relative(mine, theirs).sqrt()) for mine, theirs in zip(given, targets, strict=True)]
        return max(0.0, 1 - sum(errors) / len(errors))

    def _require_alike(self, given: list[Tensor], wanted: list[Tensor]) -> None:
        """Raise UsageError where there is nothing to compare, or a layer has lost channels."""
        if not wanted:
            raise UsageError("the network gives no floating-point numbers, so there is nothing to learn of it.")
        for number, (mine, theirs) in enumerate(zip(given, wanted, strict=True)):
            if mine.shape != theirs.shape:
                name = self._layers[number] if number < len(self._layers) else "the output"
                raise UsageError(f"{name} has another shape than in the original; keep it whole with exclude={name}.")


def _has_channels(outputs: list[Tensor]) -> bool:
    """Tell whether the first of several outputs has more than one channel."""
    return bool(outputs) and outputs[0].dim() > 1 and outputs[0].size(1) > 1


def _relative(given: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference of tensors relative to the variance of the wanted one."""
    wanted = wanted.float()
    return (given.float() - wanted).square().mean() / (wanted - wanted.mean()).square().mean().clamp_min(1e-12)


def _given(model: nn.Module, inputs: Any, size: int) -> list[Tensor]:
    """Return a network's outputs for inputs, on the CPU."""
    place = _place(model)
    found = [[each.cpu() for each in _floats(called(model, moved(part, place)))] for part in parts(inputs, size)]
    return [torch.cat(each) for each in zip(*found, strict=True)]


def _floats(output: Any) -> list[Tensor]:
    return [tensor for tensor in tensors_of(output) if is_float(tensor)]


def _place(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@contextmanager
def _noted(model: nn.Module, layers: Sequence[str]) -> Iterator[list[Tensor]]:
    """Yield a list that gets the results of layers, in their order, once the network has run."""
    found: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    inside = "" if set(layers) <= modules.keys() else "model."  # of the simulation of its integer file

    def note(name: str) -> Any:
        return lambda module, inputs, output: found.__setitem__(name, tensors_of(output)[0])

    hooks = [modules[inside + name].register_forward_hook(note(name)) for name in layers]
    outputs: list[Tensor] = []
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
    outputs[:0] = [found[name] for name in layers]
