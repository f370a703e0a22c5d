"""Whether what a search chooses keeps its latency budget on the device, and how much of it is used.

    python benchmarks/last_mile.py --model resnet20 --checkpoint resnet20.pt --data npz:DIR
    python benchmarks/last_mile.py --model mobilenet_v1 --data digits

For each budget and seed, a policy drawn at random within the bounds of the table stands for a search's choice. It goes
the way of every run: grown until nothing more fits, measured beside the original, made smaller or larger until it fits,
exported, and timed as the proof is, 3 x (100 warm-up + 200 runs) of both files in turns or more; after a miss all that
once more, three times at most. Accuracy is not looked at, so that the weights do not matter, and without a checkpoint
they are random. Prints a line for each run (shares of the budget, 1 is all of it, and the standard error of the proven
one), then how many kept it and how many used 95 %.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from named_network import named_network, network_parser

from amc_hw.budget.network_costs import network_costs
from amc_hw.devices.base import Device
from amc_hw.devices.registry import open_device
from amc_hw.errors import BudgetError
from amc_hw.formats.export import export
from amc_hw.pipeline.budget_use import WELL_USED
from amc_hw.pipeline.compress import PROOFS, TOO_BUSY, share_used
from amc_hw.pipeline.job import Job
from amc_hw.pipeline.search import search
from amc_hw.pipeline.shortlist import best_policies
from amc_hw.pipeline.trained import TrainedModel, make_trained_model
from amc_hw.pipeline.verify import verify
from amc_hw.profiling.benchmark import benchmark
from amc_hw.profiling.deployed import example_for
from amc_hw.profiling.profile import run_cost
from amc_hw.profiling.protocol import Protocol
from amc_hw.profiling.timing import share_doubt
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.runs.records import Miss
from amc_hw.search.scoring import OwnScore

COLUMNS = ("budget", "seed", "measurements", "proofs", "predicted", "found", "proven", "doubt")


def last_mile(
    run: RunFolder, device: Device, trained: TrainedModel, model: str, budget: str, seed: int
) -> tuple[float, ...]:
    """Take a random policy to the device; return what `COLUMNS` names, without budget and seed."""
    run.path.mkdir(parents=True, exist_ok=True)
    latency, _, error = run_cost(run, device, trained, None, 0, SILENT)
    costs = network_costs(trained.network, latency, 0)
    config = make_config(model=model, data="", budget=budget, strategy="random", episodes=1, seed=seed)
    job = Job(run, config, trained, device, OwnScore(lambda model: 0.5))
    found, main_budget = search(job, costs, error, SILENT), job.budgets[0]
    ranked = best_policies(found, trained.decisions)[:1]
    target = main_budget.target
    run.misses.path.unlink(missing_ok=True)
    for proof in range(1, PROOFS + 1):
        try:
            verified = verify(job, found, ranked, SILENT)
        except BudgetError:
            if proof == 1:
                raise
            break
        chosen, file = verified.chosen, run.model(device.format)
        assert chosen.measured_ms is not None
        assert chosen.original_ms is not None
        found_share = chosen.measured_ms / target(chosen.original_ms)
        export(verified.model, example_for(device, trained), file)
        files = {"original": run.original(device.format), "compressed": file}
        timings = benchmark(device, files, Protocol(), SILENT)
        used = share_used(main_budget, timings)
        doubt = share_doubt(main_budget, timings["compressed"], timings["original"])
        if used <= 1 or proof == PROOFS or doubt > TOO_BUSY:
            break
        run.misses.append(Miss(channels=chosen.channels, found=found_share, used=used))
    return (
        len(verified.candidates),
        proof,
        chosen.predicted_ms / target(latency(trained.network.original)),
        found_share,
        used,
        doubt,
    )


def main() -> None:
    parser = network_parser(__doc__, needs_weights=False)
    parser.add_argument("--device", default="host")
    parser.add_argument("--budgets", default="0.3x,0.4x,0.5x,0.6x,0.75x")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("last-mile"))
    arguments = parser.parse_args()
    model, data = named_network(arguments)
    trained, device = make_trained_model(model, data), open_device(arguments.device)
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    proven = []
    for budget in arguments.budgets.split(","):
        for seed in range(arguments.seeds):
            run = RunFolder(arguments.out / f"{budget}-{seed}")
            measurements, proofs, *shares = last_mile(run, device, trained, arguments.model, budget, seed)
            proven.append(shares[2])
            cells = [budget, str(seed), str(measurements), str(proofs), *(f"{share:.3f}" for share in shares)]
            print("| " + " | ".join(cells) + " |", flush=True)
    used = np.array(proven)
    print(f"kept: {(used <= 1).sum()} of {len(used)}; used {WELL_USED:.0%} or more: {(used >= WELL_USED).sum()}")
    print(f"proven share of the budget: {used.min():.3f} to {used.max():.3f}, median {np.median(used):.3f}")


if __name__ == "__main__":
    main()
