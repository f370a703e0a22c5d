"""What a teacher said of a batch is not asked again, and is learned as it was."""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from amc_hw.data.dataset import load_data
from amc_hw.training.loop import train
from amc_hw.training.recipe import Recipe


class Counting(nn.Module):
    """A network that counts how many images all its copies have looked at."""

    seen: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10))

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return self.layers(images)


def test_trainings_of_the_same_images_ask_the_teacher_once() -> None:
    data, teacher = load_data("digits"), Counting()
    start, learned = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10)), []
    looks = []
    for _ in range(2):
        Counting.seen.clear()
        model = copy.deepcopy(start)
        train(model, data, Recipe(epochs=1, lr=0.01, batch_size=64), teacher=teacher)
        learned.append(model[1].weight)
        looks.append(sum(Counting.seen))
    assert torch.equal(*learned)
    assert looks[0] >= len(data.train)
    assert looks[1] < 64


def test_another_order_and_other_weights_are_asked_anew() -> None:
    data, teacher = load_data("digits"), Counting()
    for change in (lambda: None, lambda: teacher.layers[1].weight.data.mul_(2.0)):
        change()
        for seed in (0, 1):
            Counting.seen.clear()
            model = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 10))
            train(model, data, Recipe(epochs=1, lr=0.01, batch_size=64), teacher=teacher, seed=seed)
            assert sum(Counting.seen) >= len(data.train)
