"""Stands in for profilers/time_torch.py where there is no GPU: networks of ATen calls, whose times a formula makes up.

A call takes a microsecond, and for its multiplications half as long in a file of 16 bits as in one of float32.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[2] / "profilers"))
import answering

PRODUCTS_A_US = 5e3
STATE = {"clock_mhz": 1410.0, "clock_max_mhz": 1980.0, "temperature_c": 51.0}
GPU = {"before": STATE, "after": STATE}


class Timer:
    """Answers as time_torch.py does."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def describe(self, request: answering.Request) -> dict[str, object]:
        about = {"processor": "A GPU", "system": "none", "runtime_version": "1", "delegate": "none", "cores": "any"}
        return {**answering.machine(), **about, "runtime": f"torch ({self.options.mode}, {self.options.dtype})"}

    def time_model(self, request: answering.Request) -> dict[str, object]:
        return {"samples_us": [sum(self.times(request).values())] * request["runs"], "gpu": GPU}

    def time_kernels(self, request: answering.Request) -> dict[str, object]:
        kernels = [{"name": n, "samples_us": [us] * request["runs"]} for n, us in self.times(request).items()]
        return {"kernels": kernels, "gpu": GPU}

    def times(self, request: answering.Request) -> dict[str, float]:
        """Microseconds for each call."""
        with np.load(request["file"]) as arrays:
            graph = json.loads(bytes(arrays["graph"]).decode())
        is_half = graph.get("dtype", "float32") != "float32"
        shapes, products_a_us = graph["shapes"], PRODUCTS_A_US * (2 if is_half else 1)
        if shapes[graph["input"]][0] != self.options.batch_size:
            raise RuntimeError(f"name the device with batch_size={shapes[graph['input']][0]}")
        found = {}
        for call in graph["calls"]:
            read = [each["tensor"] for each in call["args"] if isinstance(each, dict)]
            filters = [shapes[name] for name in read if name in graph["weights"]]
            fan_in = math.prod(filters[0][1:]) if filters else 1
            found[call["name"]] = 1 + math.prod(shapes[call["name"]]) * fan_in / products_a_us
        return found


if __name__ == "__main__":
    parser = answering.parser(__doc__)
    for option, default in (("mode", "graph"), ("dtype", "fp32"), ("layout", "channels_last"), ("l2", "warm")):
        parser.add_argument(f"--{option}", default=default)
    parser.add_argument("--batch-size", type=int, default=1)
    answering.serve_timer(Timer(parser.parse_args()))
