"""Slices and splits by unequal sizes: what a module's attributes count is cut with the channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cut_check import Net, check_cuts
from torch import Tensor, nn

from amc_hw.tracing.groups import trace
from amc_hw.tracing.slicing import cut

EXAMPLE = torch.zeros(1, 3, 8, 8)


def conv_bn(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


def net(forward: Callable[[Any, Tensor], Tensor], **attributes: Any) -> Net:
    """Return a network of a stem with 16 channels, a convolution of 4 and a head; with attributes."""
    made = Net(forward, stem=conv_bn(3, 16), part=conv_bn(4, 4), head=nn.Conv2d(16, 5, 1))
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def partial(net: Any, x: Tensor) -> Tensor:
    one, rest = torch.split(net.stem(x), [net.some, net.others], 1)
    return net.head(torch.cat([net.part(one), rest], 1)).mean((2, 3))


def rest_computed(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    one, rest = torch.split(x, [net.some, x.shape[1] - net.some], 1)
    return net.head(torch.cat([net.part(one), rest], 1)).mean((2, 3))


def slices(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.head(torch.cat([net.part(x[:, : net.some]), x[:, net.some :]], 1)).mean((2, 3))


def from_the_end(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.head(torch.cat([net.part(x[:, -net.some :]), x.narrow(1, 0, net.others)], 1)).mean((2, 3))


def listed(net: Any, x: Tensor) -> Tensor:
    one, rest = net.stem(x).split(net.sizes, 1)
    return net.head(torch.cat([net.part(one), rest], 1)).mean((2, 3))


def shares(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    some = x.shape[1] // 4
    return net.head(torch.cat([net.part(x[:, :some]), x[:, some:]], 1)).mean((2, 3))


def literal(net: Any, x: Tensor) -> Tensor:
    one, rest = torch.split(net.stem(x), [4, 12], 1)
    return net.head(torch.cat([net.part(one), rest], 1)).mean((2, 3))


@pytest.mark.parametrize(
    ("forward", "attributes"),
    [
        (partial, {"some": 4, "others": 12}),
        (rest_computed, {"some": 4}),
        (slices, {"some": 4}),
        (from_the_end, {"some": 4, "others": 12}),
        (listed, {"sizes": [4, 12]}),
        (listed, {"sizes": (4, 12)}),
    ],
)
def test_parts_whose_sizes_are_attributes_shrink_each_for_itself(forward: Any, attributes: dict[str, Any]) -> None:
    model = net(forward, **attributes, repeats=4)  # the last counts no channels
    network = check_cuts(model, torch.randn(2, 3, 8, 8))
    assert sorted(network.original.items()) in ([("part.0", 4), ("stem.0", 12), ("stem.0#2", 4)], SHARED)
    kept = {name: list(range(channels // 2)) for name, channels in network.original.items()}
    small = cut(model, network.groups, kept)
    halved = {name: type(v)(each // 2 for each in v) if name == "sizes" else v // 2 for name, v in attributes.items()}
    assert {name: getattr(small, name) for name in attributes} == halved
    assert small.repeats == 4
    assert {name: getattr(model, name) for name in attributes} == attributes


SHARED = [("part.0", 4), ("stem.0", 4), ("stem.0#2", 12)]


def test_parts_that_are_shares_of_what_comes_in_keep_their_shares() -> None:
    check_cuts(net(shares), torch.randn(2, 3, 8, 8), {"stem.0": 4, "part.0": 4})


def test_parts_of_sizes_that_stand_in_the_code_are_left_alone() -> None:
    network = trace(net(literal).eval(), EXAMPLE)
    assert network.original == {"part.0": 4}
    assert "without some of its channels" in network.unprunable["stem.0"]


def test_a_view_to_a_size_that_is_an_attribute_follows() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.fc(net.stem(x).view(-1, net.flat))

    model = Net(forward, stem=conv_bn(3, 16), fc=nn.Linear(16 * 64, 4))
    model.flat = 16 * 64
    network = check_cuts(model, torch.randn(2, 3, 8, 8), {"stem.0": 16})
    assert cut(model, network.groups, {"stem.0": [0, 1, 5]}).flat == 3 * 64


def test_an_attribute_that_also_means_something_else_is_found_by_the_proof() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        one, rest = x[:, : net.some], x[:, net.some :]
        return net.head(torch.cat([net.part(one), rest], 1)).mean((2, 3)) * net.some

    network = trace(net(forward, some=4).eval(), EXAMPLE)
    assert "stem.0" not in network.original
    assert "without some of its channels" in network.unprunable["stem.0"]
