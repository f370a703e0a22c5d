"""What ways of rounding give an int8 file before any fine-tuning.

    python benchmarks/rounding.py --model resnet20 --checkpoint resnet20.pt --data npz:CIFAR10 --policies 8

The network, and the network pruned by random policies (at least ``--least`` of every group's channels), are written as
int8 files, as a search does it, after each of several rewrites (`rounding_methods.py`), and run on the validation
split, which is a part of the training set. Prints for each method, of the original and on average of the pruned
networks: top-1 in per cent; what that is above nearest rounding's, in points, with the standard deviation of the
policies; on how many images the float network says the same; and the Kullback-Leibler divergence from the float
network's classes, in thousandths of a nat, which is less noisy than top-1. The last column are seconds for one file.
One thread.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from named_network import named_network, network_parser
from rounding_methods import Method, RangeRule, Ranges, Rounding, equalised, least_error_ranges
from torch import Tensor, nn
from torch.nn import functional

from amc_hw.formats.batches import Arrays
from amc_hw.formats.refill import Refill
from amc_hw.formats.registry import find_format
from amc_hw.formats.template import lower
from amc_hw.formats.tflite import activations
from amc_hw.formats.tflite.convert import TfliteModel
from amc_hw.formats.tflite.graph import TfliteGraph
from amc_hw.formats.tflite.quantize import quantized
from amc_hw.pipeline.trained import TrainedModel, make_pruner, make_trained_model
from amc_hw.policy import Policy
from amc_hw.pruning.folding import fold_batch_norms

COLUMNS = ("method", "original", "above", "same", "KL", "pruned", "above", "sd", "same", "KL", "s")
FITTING_IMAGES = 256
MEASURE_RANGES = activations.activation_ranges


def cut(share: float) -> RangeRule:
    """Return the rule that leaves the extremes of a share of the images out, on either side."""

    def ranges(content: bytes, graph: TfliteGraph, inputs: Arrays, tail: Collection[int] = ()) -> Ranges:
        with mock.patch("amc_hw.quantize.ranges.CUT_OFF", share):
            return MEASURE_RANGES(content, graph, inputs, tail)

    return ranges


METHODS = (
    Method("nearest"),
    Method("bias correction", [Rounding(correct=True)]),
    Method("GPTQ", [Rounding(carry=True)]),
    Method("GPTQ, bias correction", [Rounding(carry=True, correct=True)]),
    Method("least squares", [Rounding(correct=True, refit=True)]),
    Method("least squares, GPTQ", [Rounding(carry=True, correct=True, refit=True)]),
    Method("equalisation", [equalised]),
    Method("equalisation, bias correction", [equalised, Rounding(correct=True)]),
    Method("equalisation, GPTQ, bias correction", [equalised, Rounding(carry=True, correct=True)]),
    Method("ranges: largest and smallest", (), cut(0.0)),
    Method("ranges: less 1 % of the images", (), cut(0.01)),
    Method("ranges: less 10 % of the images", (), cut(0.1)),
    Method("ranges: least squared error", (), least_error_ranges),
)


@dataclass(frozen=True)
class Result:
    """Of one file, in the units of the table."""

    top1: float
    same: float
    divergence: float
    seconds: float


class Files:
    """Writes int8 files and runs them on the validation split."""

    def __init__(self, trained: TrainedModel, count: int) -> None:
        kind = find_format("tflite")
        template = lower(trained.model, trained.network, trained.example, kind)
        self._refill = Refill(template, trained, trained.example, kind.load)
        self._calibration = [trained.calibration.numpy()]
        self._fitting = trained.data.train.first(FITTING_IMAGES, seed=1)[0]
        self._images, self._labels = next(iter(trained.data.search.batches(count)))

    def results(self, model: nn.Module, policy: Policy) -> Iterator[tuple[Method, Result]]:
        """Yield what each method gives a network, batch norms folded in."""
        with torch.no_grad():
            expected = torch.cat([model(part) for part in torch.split(self._images, 250)])
        print(f"# float32 {self._top1(expected):.2f}", flush=True)
        for method in METHODS:
            start = time.perf_counter()
            rewritten = model
            for rewrite in method.rewrites:
                rewritten = rewrite(rewritten, self._fitting)
            content = self._refill(rewritten, policy)
            with mock.patch.object(activations, "activation_ranges", method.ranges or MEASURE_RANGES):
                content = quantized(content, "int8", self._calibration)
            seconds = time.perf_counter() - start
            given = torch.from_numpy(TfliteModel(content)(self._images.numpy())).flatten(1)
            yield method, self._result(given, expected, seconds)

    def _top1(self, logits: Tensor) -> float:
        return 100 * float((logits.argmax(1) == self._labels).double().mean())

    def _result(self, given: Tensor, expected: Tensor, seconds: float) -> Result:
        same = 100 * float((given.argmax(1) == expected.argmax(1)).double().mean())
        classes = [functional.log_softmax(logits.double(), 1) for logits in (given, expected)]
        divergence = 1000 * float(functional.kl_div(*classes, reduction="batchmean", log_target=True))
        return Result(self._top1(given), same, divergence, seconds)


def main() -> None:
    parser = network_parser(__doc__)
    parser.add_argument("--policies", type=int, default=8)
    parser.add_argument("--least", type=float, default=0.5)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, data = named_network(options)
    trained = make_trained_model(model, data, precision="int8")
    files, pruner = Files(trained, options.images), make_pruner(trained, options.seed)
    random, found = np.random.default_rng(options.seed), dict[str, list[Result]]()
    for number in range(options.policies + 1):
        policy, network = dict(trained.network.original), trained.model
        if number:
            for group, counts in trained.choices.items():
                policy[group] = int(random.choice([each for each in counts if each >= options.least * counts[-1]]))
            network = pruner.pruned(policy)
        for method, result in files.results(fold_batch_norms(network, trained.example), policy):
            found.setdefault(method.name, []).append(result)
            print(f"# {number} {method.name}: {result.top1:.2f}, KL {result.divergence:.2f}", flush=True)
    print_table(found)


def print_table(found: dict[str, list[Result]]) -> None:
    """Print a row for each method, from the results of the original and then those of every policy."""
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    base = np.array([result.top1 for result in found[METHODS[0].name]])
    for name, results in found.items():
        top1, same, divergence, seconds = np.array([list(vars(result).values()) for result in results]).T
        above = top1 - base
        cells = [f"{top1[0]:.2f}", f"{above[0]:+.2f}", f"{same[0]:.2f}", f"{divergence[0]:.2f}"]
        if len(results) > 1:
            deviation = above[1:].std(ddof=1) if len(results) > 2 else 0.0
            cells += [f"{top1[1:].mean():.2f}", f"{above[1:].mean():+.2f}", f"{deviation:.2f}"]
            cells += [f"{same[1:].mean():.2f}", f"{divergence[1:].mean():.2f}"]
        else:
            cells += [""] * 5
        print("| " + " | ".join([name, *cells, f"{np.median(seconds):.1f}"]) + " |", flush=True)


if __name__ == "__main__":
    main()
