"""What benchmarks of one trained network share: its options, the network and data that these name, their errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from amc_hw.data.dataset import Data
from amc_hw.errors import AmcHwError, WrongRunError
from amc_hw.models.checkpoint import load_checkpoint
from amc_hw.pipeline.begin import load_model_and_data
from amc_hw.runs.files import read_json, write_json


def network_parser(description: str | None, *, needs_weights: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the network's options; the benchmark adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--checkpoint", type=Path, required=needs_weights)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root")
    return parser


def named_network(options: argparse.Namespace) -> tuple[nn.Module, Data]:
    """Return the network with the weights of its checkpoint, where there is one, and its data."""
    model, data = load_model_and_data(options.model, options.data, options.data_root)
    if options.checkpoint is not None:
        load_checkpoint(model, options.checkpoint)
    return model, data


def require_same(out: Path, settings: dict[str, object]) -> None:
    """Begin a folder of results, or go on with it; raise WrongRunError where these have other settings."""
    file = out / "settings.json"
    if not file.exists():
        write_json(file, settings)
    for name, before in read_json(file).items():
        if before != settings.get(name):
            raise WrongRunError(f"{out} has {name} {before!r}, not {settings.get(name)!r}; give another --out.")


def run_program(main: Callable[[], None]) -> None:
    """Run a program; an error of the tool is one sentence, and its exit status."""
    try:
        main()
    except AmcHwError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error
