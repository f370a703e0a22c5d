from __future__ import annotations

import pytest
import torch
from torch import nn

from amc_hw.pruning.masks import CAPS, PARTS, MagnitudePruner, kept_weights, nonzero_weights, part_choices, zeros_held

LAYERS = ("0", "4")


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


@pytest.mark.parametrize(("kind", "cap"), CAPS.items())
def test_choices_reach_the_cap_and_no_further(kind, cap: float) -> None:
    choices = part_choices(kind)
    assert choices[0] / PARTS == pytest.approx(1 - cap)
    assert choices[-1] == PARTS
    assert part_choices(kind, 20) == tuple(range({"conv": 4, "linear": 1}[kind], 21))
    assert part_choices(kind, 1) == (1,)


def test_the_smallest_weights_become_zero() -> None:
    model = small_net()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    pruned = MagnitudePruner(model, LAYERS).pruned({"0": 20, "4": 3})
    assert nonzero_weights(pruned, LAYERS) == {"0": kept_weights(72, 20), "4": kept_weights(720, 3)}
    assert nonzero_weights(pruned, LAYERS) == {"0": 28, "4": 43}
    for name in LAYERS:
        old, new = before[f"{name}.weight"], pruned.state_dict()[f"{name}.weight"]
        assert old[new == 0].abs().max() <= old[new != 0].abs().min()
        assert torch.equal(old[new != 0], new[new != 0])
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), "the original was changed"
        if key not in ("0.weight", "4.weight"):
            assert torch.equal(pruned.state_dict()[key], tensor)


def test_importance_is_what_the_kept_weights_hold() -> None:
    model = small_net()
    shares = MagnitudePruner(model, LAYERS).importance({"0": PARTS, "4": 10})
    assert [len(share) for share in shares.values()] == [PARTS, 10]
    assert sum(shares["0"]) == pytest.approx(1)
    pruned = MagnitudePruner(model, LAYERS).pruned({"4": 10})
    kept, whole = (net[4].weight.detach().square().sum() for net in (pruned, model))
    assert sum(shares["4"]) == pytest.approx(float(kept / whole), rel=1e-5)


def test_zeros_stay_zero_while_everything_else_learns() -> None:
    pruned = MagnitudePruner(small_net(), LAYERS).pruned({"0": 20, "4": 3}).train()
    before = {name: parameter.detach().clone() for name, parameter in pruned.named_parameters()}
    optimizer = torch.optim.SGD(pruned.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2)

    def learn() -> None:
        for _ in range(3):
            optimizer.zero_grad()
            images = torch.randn(8, 2, 8, 8)
            torch.autograd.backward(nn.functional.cross_entropy(pruned(images), torch.arange(8) % 5))
            optimizer.step()

    with zeros_held(pruned, LAYERS):
        learn()
    for name, parameter in pruned.named_parameters():
        held = before[name] == 0 if name in ("0.weight", "4.weight") else torch.zeros_like(parameter, dtype=torch.bool)
        assert torch.equal(parameter == 0, held)
        assert not torch.equal(parameter, before[name])
    learn()
    assert nonzero_weights(pruned, LAYERS) == {"0": 72, "4": 720}, "outside of the block nothing is held"
