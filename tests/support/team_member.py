"""Run by torchrun: holds averaged gradients against those of a whole batch, then runs the command line."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from amc_hw.training.distributed import join


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    model.zero_grad()
    torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def check_gradients() -> None:
    """Every process sees a share of 7 images, or a whole batch of 3; the gradient is the whole batch's."""
    team, device = join(torch.device("cpu"))
    assert (team.size, device.type) == (2, "cpu")
    torch.manual_seed(team.rank)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4).eval(), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    alone = copy.deepcopy(model)
    team.begin_alike(model)
    same = [torch.equal(a, b) for a, b in zip(model.parameters(), alone.parameters(), strict=True)]
    assert all(same) if team.rank == 0 else not all(same)
    for count, shares in ((7, (4, 3)), (3, (3, 3))):
        generator = torch.Generator().manual_seed(count)
        images, labels = torch.randn(count, 1, 8, 8, generator=generator), torch.arange(count) % 3
        expected = gradients(model, images, labels)
        own = team.share(torch.arange(count))
        assert len(own) == shares[team.rank]
        gradients(model, images[own], labels[own])
        team.average_gradients(model, len(own))
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(float(team.rank))
    team.average_statistics(norm)
    assert norm.running_mean.tolist() == [0.5, 0.5]


if __name__ == "__main__":
    check_gradients()
    from amc_hw.cli.main import main

    main()
