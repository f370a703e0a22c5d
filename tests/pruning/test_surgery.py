from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from amc_hw.errors import UsageError
from amc_hw.pruning.surgery import first_channels, policy_of, shrink, widened
from amc_hw.tracing.groups import trace


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 6, 1),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
    ).eval()


def test_weights_are_sliced_and_attributes_follow(model: nn.Sequential) -> None:
    network = trace(model, torch.zeros(1, 3, 8, 8))
    small = shrink(model, network, {"0": [1, 4, 5], "4": [0, 5]})
    conv, norm, act, depthwise, project, _, linear = small
    assert torch.equal(conv.weight, model[0].weight[[1, 4, 5]])
    assert torch.equal(norm.running_var, model[1].running_var[[1, 4, 5]])
    assert torch.equal(project.weight, model[4].weight[[0, 5]][:, [1, 4, 5]])
    assert torch.equal(linear.weight, model[6].weight.view(5, 6, 16)[:, [0, 5]].flatten(1))
    assert (conv.out_channels, norm.num_features, act.num_parameters) == (3, 3, 3)
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (3, 3, 3)
    assert (project.in_channels, project.out_channels) == (3, 2)
    assert (linear.in_features, linear.out_features) == (32, 5)
    assert small(torch.zeros(1, 3, 8, 8)).shape == (1, 5)


def test_the_original_is_left_as_it_was(model: nn.Sequential) -> None:
    network = trace(model, torch.zeros(1, 3, 8, 8))
    before = copy.deepcopy(model.state_dict())
    small = shrink(model, network, {"0": [0]})
    for parameter in small.parameters():
        parameter.data.zero_()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_order_of_the_kept_channels_does_not_matter(model: nn.Sequential) -> None:
    network = trace(model, torch.zeros(1, 3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(
        shrink(model, network, {"0": [5, 1]})(x), shrink(model, network, {"0": range(1, 6, 4)})(x)
    )


def test_frozen_weights_stay_frozen_and_trainable_ones_trainable(model: nn.Sequential) -> None:
    network = trace(model, torch.zeros(1, 3, 8, 8))
    model[0].weight.requires_grad_(False)
    small = shrink(model, network, {"0": [0, 1]})
    assert not small[0].weight.requires_grad
    assert small[4].weight.requires_grad


@pytest.mark.parametrize(
    ("kept", "message"), [({"0": []}, "must stay"), ({"0": [8]}, "must stay"), ({"9": [0]}, "unknown")]
)
def test_wrong_channels_are_refused(model: nn.Sequential, kept: dict[str, list[int]], message: str) -> None:
    network = trace(model, torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match=message):
        shrink(model, network, kept)


def test_widening_undoes_shrinking_but_for_zeros(model: nn.Sequential) -> None:
    network = trace(model, torch.zeros(1, 3, 8, 8))
    kept = {"0": range(3), "4": [0, 5]}
    small = shrink(model, network, kept)
    for tensor in small.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) + 0.1)  # as if it had learned since
    x = torch.randn(2, 3, 8, 8)
    wide = widened(model, network, kept, small, x)
    torch.testing.assert_close(wide(x), small(x))
    assert [tensor.shape for tensor in wide.state_dict().values()] == [t.shape for t in model.state_dict().values()]
    assert not wide[0].weight[3:].any()
    again = shrink(wide, network, kept)
    for name, tensor in small.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_network_tells_the_policy_of_groups_that_share_all_their_layers() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.some = 4
            self.stem, self.part, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(18, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.head(torch.cat([self.part(x[:, : self.some]), x[:, self.some :]], 1))

    model = Parts().eval()
    network = trace(model, torch.zeros(1, 3, 4, 4))
    policy = {"stem": 3, "stem#2": 7, "part": 2}
    assert policy_of(model, network, shrink(model, network, first_channels(policy))) == policy
