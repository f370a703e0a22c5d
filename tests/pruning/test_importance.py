from __future__ import annotations

import pytest
import torch
from torch import nn

from amc_hw.errors import UsageError
from amc_hw.pruning.contexts import find_contexts
from amc_hw.pruning.importance import Evidence, consumers, find_ranking
from amc_hw.pruning.statistics import gather_grams
from amc_hw.pruning.taylor import taylor_importance
from amc_hw.tracing.groups import trace


def evidence_of(model: nn.Module, images: torch.Tensor) -> Evidence:
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    contexts = find_contexts(model, images[:1])
    grams = gather_grams(model, layers, contexts, [images], 20, 0)
    groups = trace(model, images[:1]).groups
    return Evidence(dict(model.named_modules()), grams, contexts, lambda: taylor_importance(model, groups, images))


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 5, 3), nn.Flatten(), nn.Linear(5 * 36, 3)).eval()


def test_readers_and_the_columns_of_each_channel(model: nn.Sequential) -> None:
    groups = trace(model, torch.zeros(1, 2, 8, 8)).groups
    modules = dict(model.named_modules())
    (conv,), (linear,) = (consumers(group, modules) for group in groups)
    assert conv.columns[2].tolist() == list(range(18, 27))
    assert linear.columns[1].tolist() == list(range(36, 72))


def test_magnitude_ranks_by_the_weights_that_read_a_channel(model: nn.Sequential) -> None:
    images = torch.randn(8, 2, 8, 8)
    group = trace(model, images).groups[0]
    for channel, size in enumerate([3.0, 6.0, 1.0, 5.0, 2.0, 4.0]):
        model[1].weight.data[:, channel] = size * torch.tensor([[1.0, -1, 1], [1, -1, 1], [1, -1, 1]])
    order = find_ranking("magnitude")(group, evidence_of(model, images))
    assert order.tolist() == [1, 3, 5, 0, 4, 2]


def test_reconstruction_sees_that_a_channel_repeats_another(model: nn.Sequential) -> None:
    images = torch.randn(32, 2, 8, 8)
    model[0].weight.data[4] = 2 * model[0].weight.data[1]
    model[0].bias.data[4] = 2 * model[0].bias.data[1]
    model[1].weight.data[:, [1, 4]] *= 10  # magnitude would keep both
    group = trace(model, images).groups[0]
    evidence = evidence_of(model, images)
    assert find_ranking("reconstruction")(group, evidence).tolist()[-1] in (1, 4)
    assert set(find_ranking("magnitude")(group, evidence).tolist()[:2]) == {1, 4}


def test_a_reader_without_gram_matrix_means_magnitude(model: nn.Sequential) -> None:
    images = torch.randn(8, 2, 8, 8)
    group = trace(model, images).groups[0]
    full = evidence_of(model, images)
    partial = Evidence(full.modules, {}, full.contexts, full.taylor)
    found = find_ranking("reconstruction")(group, partial)
    assert torch.equal(found, find_ranking("magnitude")(group, full))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'magnitude'"):
        find_ranking("magnitud")
