"""Training in several processes that torchrun started: each learns its share of a batch, gradients are averaged."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from amc_hw.errors import UsageError
from amc_hw.processes import local_rank, process_count


@dataclass(frozen=True)
class Team:
    """The processes that train one network; with a ``size`` of 1 nothing is exchanged.

    Batch norm is the one thing that differs from a single process: it normalises with the statistics of each
    process's share of a batch, and its running statistics are averaged after every epoch.
    """

    rank: int = 0
    size: int = 1

    def share(self, batch: Tensor) -> Tensor:
        """Return this process's part of a batch (n,): every ``size``-th element.

        A batch that would leave somebody fewer than two images, which batch norm may need, goes to all whole.
        """
        return batch if len(batch) < 2 * self.size else batch[self.rank :: self.size]

    def begin_alike(self, model: nn.Module) -> None:
        """Give every process the first one's weights and buffers."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                whole = tensor.contiguous()
                dist.broadcast(whole, src=0)
                tensor.copy_(whole)

    def average_gradients(self, model: nn.Module, images: int) -> None:
        """Replace the gradients by their mean over all images, of which this process saw ``images``."""
        if self.size > 1:
            parameters = [each for each in model.parameters() if each.requires_grad]
            gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
            for parameter, mean in zip(parameters, self._means(gradients, images), strict=True):
                parameter.grad = mean

    def average_statistics(self, model: nn.Module) -> None:
        """Replace the buffers (batch norm's running statistics) by their mean over the processes."""
        if self.size > 1:
            buffers = [each for each in model.buffers() if each.is_floating_point()]
            for buffer, mean in zip(buffers, self._means(buffers, 1), strict=True):
                buffer.copy_(mean)

    def mean(self, value: Tensor, weight: float) -> Tensor:
        """Return the weighted mean of the processes' values, of any shape."""
        return self._means([value], weight)[0] if self.size > 1 else value

    def _means(self, tensors: Sequence[Tensor], weight: float) -> list[Tensor]:
        """Return the weighted mean of every tensor over the processes, all of them in one exchange."""
        if not tensors:
            return []
        flat = torch.cat([each.detach().reshape(-1).float() for each in tensors])
        flat = torch.cat([flat * weight, flat.new_tensor([weight])])
        dist.all_reduce(flat)
        means = torch.split(flat[:-1] / flat[-1], [each.numel() for each in tensors])
        return [mean.view(each.shape).to(each.dtype) for mean, each in zip(means, tensors, strict=True)]


def join(device: torch.device) -> tuple[Team, torch.device]:
    """Join the processes of torchrun, over NCCL on GPUs and over gloo elsewhere.

    Args:
        device: where to train; ``cuda`` without a number becomes this process's own GPU.

    Returns:
        The team, which is of one where torchrun started no others, and this process's device.

    Raises:
        UsageError: there are more processes than GPUs.
    """
    if process_count() == 1:
        return Team(), device
    if device.type == "cuda":
        if local_rank() >= torch.cuda.device_count():
            raise UsageError(f"there are {torch.cuda.device_count()} GPUs; start no more processes than that.")
        device = torch.device("cuda", local_rank())
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return Team(dist.get_rank(), dist.get_world_size()), device
