"""A simulated device: it reads an exported file's operators and makes their times up by a formula."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from amc_hw.devices.base import Device, Kernel
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.operators import Operator

pytest.importorskip("litert_torch")  # whoever imports this measures files that it writes
from amc_hw.formats.tflite.graph import TfliteGraph


class SimulatedDevice(Device):
    """Kernels work in tiles of eight output channels; a whole network takes ``overhead`` times their sum."""

    name = "simulated"
    format = "tflite"

    def __init__(self, overhead: float = 1.05, noise: float = 0.0, seed: int = 0) -> None:
        self.overhead = overhead
        self.noise = noise
        self.random = np.random.default_rng(seed)
        self.timed_files = 0

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(
            device="simulated device",
            processor="simulated",
            system="none",
            runtime="formula",
            runtime_version="1",
            threads=1,
            cores="any",
            delegate="none",
            simulated=True,
        )

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        total = self.overhead * sum(microseconds(operator) for operator in self._operators(file))
        return [total * float(factor) for factor in self._factors(runs)]

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        self.timed_files += 1
        return [
            Kernel(operator.kind, tuple(microseconds(operator) * self._factors(runs)))
            for operator in self._operators(file)
            if microseconds(operator)
        ]

    def close(self) -> None:
        pass

    def _factors(self, runs: int) -> np.ndarray:
        return np.exp(self.random.normal(0, self.noise, runs))

    @staticmethod
    def _operators(file: Path) -> list[Operator]:
        return operators_of(file.read_bytes())


@lru_cache(maxsize=64)
def operators_of(content: bytes) -> list[Operator]:
    """The operators of a file; networks are timed again and again."""
    return TfliteGraph(content).operators()


def microseconds(operator: Operator) -> float:
    """Latency of one operator; paddings are fused and take none."""
    if operator.kind == "PAD":
        return 0.0
    positions = math.prod(operator.outputs[0][:-1])
    tiles = math.ceil(operator.c_out / 8) * 8
    return 2.0 + positions * tiles * max(operator.fan_in, 1) / 2e4
