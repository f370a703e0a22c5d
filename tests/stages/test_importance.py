from __future__ import annotations

import torch
from tiny import TinyNet

from amc_hw.data import load_data
from amc_hw.stages.importance import channel_importance
from amc_hw.stages.search import make_pruner
from amc_hw.stages.subject import make_subject


def test_channels_that_nobody_reads_have_no_importance() -> None:
    torch.manual_seed(0)
    model = TinyNet()
    with torch.no_grad():
        model.conv2[0].weight[:, :6] = 0  # the first six channels of conv1 reach nothing
    subject = make_subject(model, load_data("digits"))
    pruner = make_pruner(subject, 0)
    importance = channel_importance(subject, pruner, seed=0)
    assert {name: len(values) for name, values in importance.items()} == subject.network.original
    ten = set(pruner.kept({"conv1.0": 10})["conv1.0"])
    assert ten == set(range(6, 16))
    assert min(importance["conv1.0"][:10]) > 0
    assert importance["conv1.0"][10:] == [0.0] * 6
    assert importance == channel_importance(subject, pruner, seed=0)
