from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from cut_check import Net, check_cut, masked_output, random_kept
from torch import Tensor, nn

from amc_hw.errors import UnsupportedModelError
from amc_hw.tracing.groups import Network, trace
from amc_hw.tracing.slicing import cut

EXAMPLE = torch.zeros(1, 3, 8, 8)


def conv_bn(c_in: int, c_out: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(True),
    )


def chain() -> nn.Module:
    return nn.Sequential(conv_bn(3, 16), conv_bn(16, 12), nn.Flatten(), nn.Linear(12 * 64, 10))


def concatenation() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(torch.cat([net.one(x), net.two(x), x], 1)).mean((2, 3))

    return Net(forward, one=conv_bn(3, 8), two=conv_bn(3, 12), last=nn.Conv2d(23, 5, 1))


def residual() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        x += net.inner2(net.inner1(x))
        return net.head(x.mean((2, 3)))

    return Net(forward, stem=conv_bn(3, 16), inner1=conv_bn(16, 8), inner2=conv_bn(8, 16), head=nn.Linear(16, 4))


def squeeze_excite() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.depthwise(net.expand(x))
        gate = net.up(F.relu(net.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        return net.project(x * gate).flatten(2).mean(2)

    return Net(
        forward,
        expand=conv_bn(3, 16),
        depthwise=conv_bn(16, 16, groups=16),
        down=nn.Conv2d(16, 4, 1),
        up=nn.Conv2d(4, 16, 1),
        project=nn.Conv2d(16, 6, 1),
    )


def grouped() -> nn.Module:
    return nn.Sequential(conv_bn(3, 16), conv_bn(16, 32, groups=4), nn.Conv2d(32, 5, 1), nn.Flatten())


def shared() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.twice(net.twice(net.stem(x)))
        return net.head(x.mean((2, 3)))

    return Net(forward, stem=conv_bn(3, 12), twice=nn.Conv2d(12, 12, 3, padding=1), head=nn.Linear(12, 4))


def shuffled() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        one, two = x.chunk(2, 1)
        return net.head(torch.cat([two, net.side(one)], 1)).mean((2, 3))

    return Net(forward, stem=conv_bn(3, 32), side=conv_bn(16, 8), head=nn.Conv2d(24, 5, 1))


def prelu_and_parameters() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.act(net.stem(x)) * net.scale
        return net.head(x.permute(0, 2, 3, 1)).mean((1, 2))

    net = Net(forward, stem=nn.Conv2d(3, 12, 3), act=nn.PReLU(12), head=nn.Linear(12, 4))
    net.scale = nn.Parameter(torch.rand(12, 1, 1))
    return net


def shortcut_by_padding() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = F.relu(net.outer(net.inner(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        return net.head(x.mean((2, 3)))

    inner = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
    return Net(forward, stem=conv_bn(3, 8), inner=inner, outer=conv_bn(16, 16), head=nn.Linear(16, 4))


ALL = [
    chain,
    concatenation,
    residual,
    squeeze_excite,
    grouped,
    shared,
    shuffled,
    prelu_and_parameters,
    shortcut_by_padding,
]


def check(model: nn.Module, network: Network, x: Tensor, seed: int) -> None:
    """The cut network computes what the masked one computes, at the predicted cost."""
    kept = random_kept(network, seed)
    check_cut(model, network, kept, x, masked_output(model, network, kept, x))


@pytest.mark.parametrize("build", ALL)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_policy_gives_the_masked_network_at_the_predicted_cost(build: Any, seed: int) -> None:
    torch.manual_seed(seed)
    model = build().eval()
    network = trace(model, EXAMPLE)
    assert network.groups
    check(model, network, torch.randn(2, 3, 8, 8), seed)


def groups_of(build: Any) -> dict[str, int]:
    return trace(build(), EXAMPLE).original


def test_groups_are_named_after_their_first_layer_in_network_order() -> None:
    assert groups_of(chain) == {"0.0": 16, "1.0": 12}
    assert groups_of(concatenation) == {"one.0": 8, "two.0": 12}
    assert groups_of(residual) == {"stem.0": 16, "inner1.0": 8}
    assert groups_of(squeeze_excite) == {"expand.0": 16, "down": 4}
    assert groups_of(shared) == {"stem.0": 12}


def test_a_channel_of_a_grouped_convolution_is_a_whole_group() -> None:
    network = trace(grouped(), EXAMPLE)
    assert network.original == {"0.0": 4}
    small = cut(grouped(), network.groups, {"0.0": [0, 2, 3]})
    assert (small[1][0].groups, small[1][0].in_channels, small[1][0].out_channels) == (3, 12, 24)
    assert small(EXAMPLE).shape == (1, 5 * 64)


def test_a_shuffle_keeps_its_halves_equal() -> None:
    # Two halves are shuffled and split again, so that four channels hang together.
    assert groups_of(shuffled) == {"stem.0": 8, "side.0": 8}


def test_a_flattened_channel_has_many_positions() -> None:
    network = trace(chain(), EXAMPLE)
    layer = next(layer for layer in network.layers if layer.kind == "linear")
    assert layer.c_in.at({"0.0": 1, "1.0": 5}) == 5 * 64
    member = next(m for m in network.groups[1].members if m.module == "3")
    assert member.positions.shape == (12, 64)
    assert member.positions[2].tolist() == list(range(128, 192))


def test_a_padded_shortcut_is_left_alone_and_says_why() -> None:
    network = trace(shortcut_by_padding(), EXAMPLE)
    assert network.original == {"inner.0": 16}
    assert set(network.unprunable) == {"stem.0", "outer.0", "head"}
    assert "padding" in network.unprunable["outer.0"]
    assert network.unprunable["head"] == "it is the network's output"


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(-1).values


def test_what_is_not_understood_is_left_alone() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.norm(net.stem(x).permute(0, 2, 3, 1))
        return net.head(F.gelu(net.wide(x))).mean((1, 2))

    net = Net(forward, stem=nn.Conv2d(3, 16, 3), norm=Sorted(), wide=nn.Linear(16, 32), head=nn.Linear(32, 4))
    network = trace(net, EXAMPLE)
    assert network.original == {"wide": 32}
    assert "sort in 'norm' (Sorted)" in network.unprunable["stem"]


def test_a_hard_coded_size_is_found_by_the_proof() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(net.inner(net.stem(x)).mean((2, 3)).view(-1, 16))

    net = Net(forward, stem=conv_bn(3, 8), inner=conv_bn(8, 16), head=nn.Linear(16, 4))
    network = trace(net, EXAMPLE)
    assert network.original == {"stem.0": 8}
    assert "without some of its channels" in network.unprunable["inner.0"]


def test_layers_that_share_weights_are_left_alone() -> None:
    net = Net(
        lambda net, x: net.head(net.two(net.between(net.one(net.stem(x))))),
        stem=nn.Conv2d(3, 8, 1),
        one=nn.Conv2d(8, 8, 1),
        between=nn.Conv2d(8, 8, 1),
        two=nn.Conv2d(8, 8, 1),
        head=nn.Conv2d(8, 4, 1),
    )
    net.two.weight = net.one.weight
    network = trace(net, EXAMPLE)
    assert not network.groups
    assert network.unprunable["stem"] == "'two' and 'one' share weights"
    assert network.params({}) == sum(p.numel() for p in net.parameters())


def test_a_slice_of_all_channels_is_no_cut() -> None:
    def forward(net: Any, x: Tensor, stop: int) -> Tensor:
        x = net.stem(x)
        x = torch.cat([x, net.cheap(x)], 1)[:, :stop, :, :]
        return net.head(x[:].mean((2, 3)))

    def ghost(stop: int) -> Net:
        return Net(
            lambda net, x: forward(net, x, stop),
            stem=conv_bn(3, 8),
            cheap=conv_bn(8, 8, groups=8),
            head=nn.Linear(stop, 4),
        )

    assert groups_of(lambda: ghost(16)) == {"stem.0": 8}
    cut_off = trace(ghost(15).eval(), EXAMPLE)
    assert not cut_off.groups
    assert "fixed positions" in cut_off.unprunable["stem.0"]
    check(ghost(16).eval(), trace(ghost(16).eval(), EXAMPLE), torch.rand(2, 3, 8, 8), 0)


def test_layers_may_be_called_by_keyword() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.norm(input=net.first(input=x))
        return net.head(input=net.act(input=net.second(input=x)).mean((2, 3)))

    model = Net(
        forward,
        first=nn.Conv2d(3, 16, 3),
        norm=nn.BatchNorm2d(16),
        second=nn.Conv2d(16, 12, 3),
        act=nn.PReLU(12),
        head=nn.Linear(12, 4),
    ).eval()
    network = trace(model, EXAMPLE)
    assert network.original == {"first": 16, "second": 12}
    check(model, network, torch.rand(2, 3, 8, 8), 0)


class PaddedRight(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, [0, 1, 0, 1]), self.weight, self.bias, self.stride)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return torch.cat([x, -x], 1)


class Told(nn.Conv2d):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x.mean()


class Scored(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.softmax(x.mean((2, 3), keepdim=True), 1).amax(1, keepdim=True)


class Adapted(nn.Conv2d):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.down = nn.Parameter(torch.randn(2, self.in_channels, 1, 1))
        self.up = nn.Parameter(torch.randn(self.out_channels, 2, *self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + F.conv2d(F.conv2d(x, self.down), self.up)


@pytest.mark.parametrize(
    ("kind", "groups"),
    [
        (PaddedRight, {"one": 8, "two": 12}),
        (Standardised, {"two": 12}),  # a filter of fewer weights has another mean
        (Doubled, {}),
        (Told, {}),
        (Scored, {"two": 12}),
        (Adapted, {}),
    ],
)
def test_layers_with_a_forward_of_their_own_are_cut_where_it_is_proven(kind: Any, groups: dict[str, int]) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.two(F.relu(net.one(x)))
        return net.three(F.relu(x[0] if isinstance(x, tuple) else x)).mean((2, 3))

    torch.manual_seed(0)
    behind = nn.Conv2d(24 if kind is Doubled else 12, 5, 1)
    model = Net(forward, one=nn.Conv2d(3, 8, 3), two=kind(8, 12, 3), three=behind).eval()
    network = trace(model, EXAMPLE)
    assert network.original == groups
    assert set(network.unprunable) == {"one", "two", "three"} - set(groups)
    for seed in range(3):
        x = torch.rand(2, 3, 8, 8)
        kept = random_kept(network, seed)
        torch.testing.assert_close(cut(model, network.groups, kept)(x), masked_output(model, network, kept, x))


def test_a_layer_that_is_not_called_is_listed() -> None:
    net = Net(lambda net, x: net.head(net.stem(x)), stem=conv_bn(3, 8), head=nn.Conv2d(8, 4, 1), spare=nn.Linear(3, 3))
    network = trace(net, EXAMPLE)
    assert "not called" in network.unprunable["spare"]
    assert network.params(network.original) == sum(p.numel() for p in net.parameters())


def test_every_layer_is_prunable_or_has_a_reason() -> None:
    for build in ALL:
        model = build()
        network = trace(model, EXAMPLE)
        produced = {m.module for group in network.groups for m in group.members if m.side == "out"}
        layers = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
        assert layers == (produced & layers) | set(network.unprunable)
        assert not produced & set(network.unprunable)


def test_the_model_is_left_as_it_was() -> None:
    model = residual().train()
    state = copy.deepcopy(model.state_dict())
    trace(model, EXAMPLE)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_costs_are_those_of_one_image_whatever_the_batch() -> None:
    one, many = trace(chain(), EXAMPLE), trace(chain(), EXAMPLE.expand(4, 3, 8, 8))
    assert one.macs(one.original) == many.macs(many.original)


def test_a_model_that_does_not_run_is_an_error_that_says_so() -> None:
    with pytest.raises(UnsupportedModelError, match="does not run on the example input"):
        trace(chain(), torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("resnet18", 12),
        ("mobilenet_v2", 25),
        ("mobilenet_v3_small", 27),
        ("squeezenet1_1", 25),
        ("shufflenet_v2_x0_5", 20),
    ],
)
def test_torchvision(name: str, groups: int) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    network = trace(model, torch.zeros(1, 3, 64, 64))
    assert len(network.groups) == groups
    check(model, network, torch.randn(1, 3, 64, 64), 0)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_groups_agree_with_an_independent_implementation(name: str) -> None:
    torch_pruning = pytest.importorskip("torch_pruning")
    model = torchvision.models.get_model(name, weights=None).eval()
    x = torch.zeros(1, 3, 64, 64)
    graph = torch_pruning.DependencyGraph().build_dependency(model, x, verbose=False)
    names = {module: name for name, module in model.named_modules()}
    last = list(model.modules())[-1]
    theirs = set()
    for group in graph.get_all_groups(ignored_layers=[last]):
        producers = [
            names[d.target.module]
            for d, _ in group
            if "out_channels" in d.handler.__name__ and d.target.module in names
        ]
        layers = frozenset(n for n in producers if isinstance(dict(model.named_modules())[n], nn.Conv2d | nn.Linear))
        theirs.add((layers, len(group[0].idxs)))
    ours = set()
    for group in trace(model, x).groups:
        producers = [m.module for m in group.members if m.side == "out"]
        layers = frozenset(n for n in producers if isinstance(dict(model.named_modules())[n], nn.Conv2d | nn.Linear))
        ours.add((layers, group.channels))
    assert ours == theirs


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.attention = nn.Conv2d(1, 16, 4, stride=4), nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens)[0].mean(1)


def test_attention_is_counted() -> None:
    network = trace(Attentive(), torch.zeros(1, 1, 16, 16))
    projections, products = 16 * 16 * (3 * 16 + 16), 2 * 16 * 16 * 16
    assert network.macs(network.original) == 16 * 16 * 16 + projections + products


def test_modules_may_take_a_parameter_as_their_input() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.rand(1, 4, 1, 1))
            self.pool, self.conv, self.head = nn.Identity(), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x) + self.pool(self.token))

    model = Token()
    assert trace(model, torch.rand(1, 3, 8, 8)).original == {"conv": 4}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_groups_that_are_right_alone_and_wrong_together_are_refused() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        smaller = net.one.out_channels < 8 and net.two.out_channels < 8
        return net.head(net.two(net.one(x))) * (2 if smaller else 1)

    model = Net(forward, one=nn.Conv2d(3, 8, 1), two=nn.Conv2d(8, 8, 1), head=nn.Conv2d(8, 2, 1))
    with pytest.raises(UnsupportedModelError, match=r"'one' and later layers cannot be pruned together; .*exclude=one"):
        trace(model, torch.zeros(1, 3, 4, 4))
