"""Networks written as a function, and the check that a cut network is the masked one at the predicted cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from amc_hw.tracing.attention import attention_by_parts
from amc_hw.tracing.groups import Network, trace
from amc_hw.tracing.kinds import loses_inputs
from amc_hw.tracing.slicing import cut, width


class Net(nn.Module):
    """A net whose forward is given as a function of itself and its input."""

    def __init__(self, forward: Any, **modules: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def random_kept(network: Network, seed: int) -> dict[str, list[int]]:
    """Draw which channels every group keeps, at least one."""
    rng = np.random.default_rng(seed)
    counts = {name: int(rng.integers(1, channels + 1)) for name, channels in network.original.items()}
    return {n: sorted(rng.permutation(network.original[n])[:count].tolist()) for n, count in counts.items()}


def masked_output(model: nn.Module, network: Network, kept: dict[str, list[int]], x: Tensor) -> Tensor:
    """Return what the original gives with zeros in place of what the removed channels bring to its layers."""
    masks: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    for group in network.groups:
        gone = [channel for channel in range(group.channels) if channel not in kept[group.name]]
        for member in group.members:
            module = modules.get(member.module)
            if module is not None and member.side == "in" and loses_inputs(module):
                mask = masks.setdefault(member.module, torch.ones(width(module, "in")))
                mask[member.positions[gone].ravel().tolist()] = 0
    handles = []
    for name, mask in masks.items():
        linear = isinstance(modules[name], nn.Linear)
        spatial = 0 if linear else modules[name].weight.dim() - 2

        mask = mask.view(-1, *(1,) * spatial)

        def hook(_: nn.Module, args: Any, named: Any, mask: Tensor = mask) -> Any:
            (x,) = (*args, *named.values())
            return (x * mask,), {}

        handles.append(modules[name].register_forward_pre_hook(hook, with_kwargs=True))
    with torch.no_grad():
        output = model(x)
    for handle in handles:
        handle.remove()
    return output


def check_cut(model: nn.Module, network: Network, kept: dict[str, list[int]], x: Tensor, wanted: Tensor) -> None:
    """Hold a cut network against what it should compute, and its costs against the predictions."""
    policy = {name: len(channels) for name, channels in kept.items()}
    small = cut(model, network.groups, kept)
    with torch.no_grad():
        torch.testing.assert_close(small(x), wanted, rtol=1e-4, atol=1e-5)
        with attention_by_parts(), FlopCounterMode(display=False) as counter:
            small(x[:1])
    assert network.macs(policy) == counter.get_total_flops() // 2
    assert network.params(policy) == sum(p.numel() for p in small.parameters())


def check_cuts(model: nn.Module, x: Tensor, groups: dict[str, int] | None = None) -> Network:
    """Trace a network, and hold three random cuts against the masked network, and their costs against predictions."""
    torch.manual_seed(0)
    network = trace(model.eval(), x[:1])
    assert network.groups
    assert groups is None or network.original == groups
    for seed in range(3):
        kept = random_kept(network, seed)
        check_cut(model, network, kept, x, masked_output(model, network, kept, x))
    return network
