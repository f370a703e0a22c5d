"""Multi-label classification by loaders of one's own: any inputs, each with its labels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from amc_hw.data.labels import is_multi_label, quality
from amc_hw.errors import UsageError
from amc_hw.policy import MEAN_AP
from amc_hw.tasks.probabilities import are_within_0_and_1, gives_probabilities
from amc_hw.tracing.inputs import called, moved
from amc_hw.training.recipe import batch_loss

PROBABILITIES = "the network gives probabilities from 0 to 1, as behind a sigmoid; give it without its last sigmoid."


class MultiLabel:
    """A task whose networks give a score, before the sigmoid, for each of several labels (`amc_hw.tasks.task.Task`).

    A batch of a loader is ``(inputs, labels)``, or ``(one, other, ..., labels)`` of a network of several inputs; the
    labels are 0 and 1 (N, labels). What it is scored by is the mean average precision; it learns its labels, and what
    the original gives, label by label.

    Args:
        train: is learned; it may shuffle.
        validation: what a search scores on.
        test: is asked once, at the end.
        lr: the highest learning rate, of AdamW.

    Raises:
        UsageError: these are no loaders, or labels that are none.
    """

    metric = MEAN_AP

    def __init__(self, train: Any, validation: Any, test: Any, *, lr: float = 1e-3) -> None:
        for name, loader in (("train", train), ("validation", validation), ("test", test)):
            if not isinstance(loader, DataLoader):
                raise UsageError(f"{name}= takes a torch.utils.data.DataLoader, not a {type(loader).__name__}.")
            _require_labels(name, next(iter(loader), ()))
        self._train, self._validation, self._test, self._lr = train, validation, test, lr
        self.inputs = DataLoader(train.dataset, train.batch_size or 32, collate_fn=train.collate_fn)
        """Those of training, in their own order."""

    def score(self, model: nn.Module) -> float:
        """Return the mean average precision on the validation loader."""
        return _mean_ap(model, self._validation)

    def test(self, model: nn.Module) -> float:
        """Return the mean average precision on the test loader."""
        return _mean_ap(model, self._test)

    def train(self, model: nn.Module, teacher: nn.Module, epoch: int, epochs: int) -> float:
        """Learn the labels and the teacher's scores for one epoch; return the mean loss."""
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), self._lr, weight_decay=0.05)
        losses = list[float]()
        for step, batch in enumerate(self._train):
            inputs, labels = _parts(batch, model)
            if len(labels) < 2:  # batch norm's statistics of a single one are nothing
                continue
            for group in optimizer.param_groups:
                done = (epoch + step / len(self._train)) / epochs
                group["lr"] = self._lr * 0.5 * (1 + math.cos(math.pi * done))
            with torch.no_grad():
                wanted = called(teacher, inputs)
            if are_within_0_and_1(wanted) and gives_probabilities(teacher, inputs):
                raise UsageError(PROBABILITIES)
            loss = batch_loss(called(model, inputs), wanted, labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
        model.eval()
        return sum(losses) / max(1, len(losses))


def _require_labels(name: str, batch: Any) -> None:
    """Raise UsageError where a batch is not of inputs and their labels."""
    labels = batch[-1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    if not isinstance(labels, Tensor) or not is_multi_label(labels) or not bool(((labels == 0) | (labels == 1)).all()):
        raise UsageError(
            f"a batch of {name}= is (inputs, labels) with labels of 0 and 1, one column for each label (N, labels); "
            "networks that give one class to an image are compressed with data=."
        )


def _parts(batch: Any, model: nn.Module) -> tuple[Any, Tensor]:
    """Return a batch's inputs, as the network takes them, and labels, where the network is."""
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    *inputs, labels = moved(tuple(batch), place)
    return inputs[0] if len(inputs) == 1 else tuple(inputs), labels.float()


def _mean_ap(model: nn.Module, loader: Any) -> float:
    with torch.no_grad():
        found = [(called(model, inputs).cpu(), labels.cpu()) for inputs, labels in (_parts(b, model) for b in loader)]
    scores, labels = (torch.cat(each) for each in zip(*found, strict=True))
    return quality(scores, labels)
