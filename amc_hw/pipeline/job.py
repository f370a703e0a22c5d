"""One compression, as its steps hand it on."""

from __future__ import annotations

from dataclasses import dataclass

from amc_hw.devices.base import Device
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.runs.config import RunConfig
from amc_hw.runs.folder import RunFolder
from amc_hw.search.scoring import NetworkScore


@dataclass(frozen=True)
class Job:
    """What is compressed, for which device, and where its files are.

    Attributes:
        run: the run folder, begun with ``config``.
        config: the settings.
        trained: the network and its data.
        device: where the budget must hold.
        score: what the search maximises, 0..1, on images of the training set.
    """

    run: RunFolder
    config: RunConfig
    trained: TrainedModel
    device: Device
    score: NetworkScore
