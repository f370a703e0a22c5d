"""A network on the bench: any channel counts of it are written as a file and run on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amc_hw.devices.base import Device
from amc_hw.devices.effort import Effort
from amc_hw.formats.graph import GraphTemplate
from amc_hw.policy import Policy
from amc_hw.profiling.plan import corner_policies, draw_policy
from amc_hw.runs.files import write_scratch
from amc_hw.tracing.traced import TracedModel


@dataclass(frozen=True)
class ProfilingBench:
    """What every measurement of a table needs.

    Attributes:
        device: where to measure.
        traced: the network.
        template: its operators as functions of the policy.
        file: is overwritten with each network.
        random: draws networks and their weights.
    """

    device: Device
    traced: TracedModel
    template: GraphTemplate
    file: Path
    random: np.random.Generator

    @property
    def effort(self) -> Effort:
        """How much of the device's time the table may take."""
        return self.device.effort

    @property
    def corners(self) -> list[dict[str, int]]:
        """The original network and the smallest one."""
        return corner_policies(self.traced.choices)

    def draw(self) -> dict[str, int]:
        """Draw a network."""
        return draw_policy(self.traced.choices, self.random)

    def content(self, policy: Policy) -> bytes:
        """Return the file of a network, with random weights."""
        return self.template.file(policy, self.random)

    def put(self, content: bytes) -> Path:
        """Write a network's file and return where it is."""
        write_scratch(self.file, content)
        return self.file
