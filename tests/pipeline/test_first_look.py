"""What a user should know of the network and the table is said before the search, and kept with its results."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import TinyNet
from torch import Tensor, nn

from amc_hw.data.dataset import load_data
from amc_hw.devices import turns
from amc_hw.models.checkpoint import load_checkpoint
from amc_hw.pipeline.first_look import LEVEL, doubt_of_accuracy, is_guessing
from amc_hw.pipeline.job import opened_job
from amc_hw.pipeline.search_and_verify import search_and_verify
from amc_hw.pipeline.trained import make_trained_model
from amc_hw.report.html import write_report
from amc_hw.runs.config import make_config
from amc_hw.runs.progress import Progress
from amc_hw.tasks.classification import Classification, few_images

pytest.importorskip("litert_torch")
from simulated_device import SimulatedDevice


class SecondHead(TinyNet):
    """Gives the scores of two heads while it trains; the first always names the first class."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(32, 10)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        middle = self.conv2(self.conv1(x))
        scores = self.classifier(self.pool(self.conv3(middle)).flatten(1))
        return (scores, self.second(middle.mean((2, 3)))) if self.training else scores


def test_it_is_said_before_the_search_and_stays_with_the_policy_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, told = SecondHead(), list[str]()
    model.conv1.requires_grad_(False)
    told_of = logging.Handler()
    told_of.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    progress = Progress(lambda update: told.append(update.stage))
    logging.getLogger("amc_hw").addHandler(told_of)
    config = make_config(
        model="SecondHead",
        data="digits",
        strategy="uniform",
        episodes=1,
        latency="0.6x",
        precision="fp32",
        table=tmp_path / "table.json",
    )
    try:
        for name, overhead in (("run", 1.05), ("later", 1.3)):  # by then the device has become slower
            monkeypatch.setattr(turns, "open_or_predict", lambda *_, by=overhead: SimulatedDevice(by))
            told.clear()
            own = (model, load_data("digits"))
            with opened_job(tmp_path / name, config, progress, own=own) as (job, told_in_turn):
                search_and_verify(job, told_in_turn)
    finally:
        logging.getLogger("amc_hw").removeHandler(told_of)

    kept = json.loads((tmp_path / "later" / "policy.json").read_text())["warnings"]
    page = write_report(tmp_path / "later").read_text()
    for sentence in ("parameter tensors are frozen", "other heads are left out", "no better than guessing", "+23.8%"):
        (said,) = [number for number, line in enumerate(told) if sentence in line]
        assert said < told.index("searching")
        assert sum(sentence in each for each in kept) == 1
        assert sentence in page


def test_a_network_that_knows_something_is_not_doubted(checkpoint: Path) -> None:
    model, data = TinyNet(), load_data("digits")
    load_checkpoint(model, checkpoint)
    assert doubt_of_accuracy(make_trained_model(model, data)) == ""
    trained = make_trained_model(SecondHead(), data)
    assert "of the validation split right, which is no better than guessing" in doubt_of_accuracy(trained)
    few = few_images(replace(data, train=data.search), 1, 0).train
    of_one = replace(trained, task=Classification(replace(data, search=few)))
    assert doubt_of_accuracy(of_one) == ""  # one image tells nothing


@pytest.mark.parametrize(("chance", "images"), [(0.1, 500), (0.5, 100), (0.004, 500)])
def test_guesses_are_taken_for_guesses_as_often_as_the_level_says(chance: float, images: int) -> None:
    right = np.random.default_rng(0).binomial(images, chance, 2000)
    assert np.mean([not is_guessing(int(number), images, chance) for number in right]) <= 1.5 * LEVEL
    assert not is_guessing(images // 2 + images // 3, images, chance)


def test_so_few_images_that_a_perfect_network_could_not_show_it_tell_nothing() -> None:
    assert not is_guessing(3, 6, 0.5)
    assert is_guessing(4, 7, 0.5)
    assert not is_guessing(7, 7, 0.5)
