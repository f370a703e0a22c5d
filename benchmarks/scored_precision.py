"""Whether an episode in int8 is scored as the file that would ship, and what it costs beside one in float32.

    python benchmarks/scored_precision.py --model resnet20 --checkpoint resnet20.pt --data npz:CIFAR10 --policies 20

For random policies of at least half of every group's channels: the pruned network is scored as a search does it (its
file written without the converter, quantized, run by LiteRT), by the simulation that fine-tuning learns with, and in
float32 by PyTorch; then it is converted and quantized for real, and that file is run on the same images. Prints a line
for each policy (top-1 in per cent, and seconds of pruning, of scoring the file and of scoring in float32), and what the
three differ from the real file by, at most and on average. One thread.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from named_network import named_network, network_parser

from amc_hw.devices.registry import open_device
from amc_hw.formats.registry import find_format
from amc_hw.pipeline.trained import make_pruner, make_trained_model
from amc_hw.profiling.deployed import DeployedFiles
from amc_hw.quantize.simulated import Simulated
from amc_hw.search.file_scoring import FileScorer
from amc_hw.search.scoring import PartScorer

COLUMNS = ("policy", "real file", "scored file", "simulated", "float32", "prune s", "scored file s", "float32 s")


def main() -> None:
    parser = network_parser(__doc__)
    parser.add_argument("--policies", type=int, default=20)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, data = named_network(options)
    trained = make_trained_model(model, data, precision="int8")
    with open_device("host", "int8") as device:
        written, kind = DeployedFiles(device, trained, device.precision), find_format(device.format)
    part = data.search
    as_file = FileScorer(part, write=lambda network: kind.load(written(network)))
    quantized = kind.in_precision("int8", trained.calibration)
    converted = FileScorer(part, write=lambda network: quantized.load(quantized.convert(network, trained.example)))
    plain, positions = PartScorer(part), torch.arange(min(options.images, len(part)))
    pruner, random = make_pruner(trained, options.seed), np.random.default_rng(options.seed)
    images, labels = next(iter(part.batches(len(positions))))
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    differences = []
    for number in range(options.policies):
        policy = {group: int(random.choice(counts[len(counts) // 2 :])) for group, counts in trained.choices.items()}
        start = time.perf_counter()
        small = pruner.pruned(policy)
        pruned = time.perf_counter()
        scored = 100 * float(as_file.right(as_file.prepared(small), positions).double().mean())
        by_file = time.perf_counter()
        float32 = 100 * float(plain.right(plain.prepared(small), positions).double().mean())
        seconds = (pruned - start, by_file - pruned, time.perf_counter() - by_file)
        real = 100 * float(converted.right(converted.prepared(small), positions).double().mean())
        with torch.no_grad():
            simulated = 100 * float((Simulated(small, trained.calibration)(images).argmax(1) == labels).double().mean())
        differences.append((scored - real, simulated - real, float32 - real))
        cells = [str(number), *(f"{top1:.2f}" for top1 in (real, scored, simulated, float32))]
        print("| " + " | ".join([*cells, *(f"{each:.2f}" for each in seconds)]) + " |", flush=True)
    for name, off in zip(COLUMNS[2:5], np.abs(np.array(differences)).T, strict=True):
        print(f"{name} against the real file: at most {off.max():.2f} points, {off.mean():.2f} on average")


if __name__ == "__main__":
    main()
