"""Networks are scored as the files that ship; one that has no file that runs is scored, too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import TinyNet
from torch import nn

from amc_hw.data.dataset import load_data
from amc_hw.errors import UnsupportedModelError
from amc_hw.search.file_scoring import FileScorer
from amc_hw.search.scoring import EarlyDropping

PART = load_data("digits").search


class Space:
    """Stands in for a search space without a budget."""

    bounds = None

    def keeps(self, policy: dict[str, int]) -> bool:
        return True


def write(model: nn.Module):
    """The network itself in place of a file; those with a filter of zeros have none."""
    if not model.conv1[0].weight.any():
        raise UnsupportedModelError("the runtime refuses this network in int8.")
    return lambda images: np.asarray(model(torch.from_numpy(images)).detach())


def refused() -> nn.Module:
    model = TinyNet().eval()
    nn.init.zeros_(model.conv1[0].weight)
    return model


def test_a_network_without_a_file_gets_every_image_wrong(caplog: pytest.LogCaptureFixture) -> None:
    scorer = FileScorer(PART, write=write)
    assert scorer(TinyNet().eval()) > 0
    assert not caplog.records
    assert scorer(refused()) == 0
    assert "no file that runs: the runtime refuses this network in int8" in caplog.text
    prepared = scorer.prepared(refused())
    assert scorer.margins(prepared, torch.arange(7)).tolist() == [-1.0] * 7


def test_a_search_goes_on_behind_it() -> None:
    networks = {0: refused(), 1: TinyNet().eval(), 2: refused()}
    scoring = EarlyDropping(FileScorer(PART, write=write), Space(), lambda policy: networks[policy["a"]], refused(), 1)
    found = {}
    for channels in networks:
        score = scoring.score({"a": channels})
        scoring.recall({"a": channels}, score)
        found[channels] = score.accuracy
    assert found[0] == 0
    assert found[1] > 0
    assert found[2] < found[1]
