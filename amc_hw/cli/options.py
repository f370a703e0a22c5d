"""Options that several commands share, and how their help says them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

# Typer reads these annotations at run time, so they cannot be written X | None for Python 3.10's sake.
Model = Annotated[
    str, typer.Option(help="a name of the zoo, torchvision:NAME, or path/to/file.py:function", show_default=True)
]
Checkpoint = Annotated[Optional[Path], typer.Option(help="file with the trained weights")]  # noqa: UP045
DataName = Annotated[str, typer.Option("--data", help="digits, cifar10, imagenet, imagefolder:DIR or npz:DIR")]
DataRoot = Annotated[Optional[Path], typer.Option(help="folder of cifar10 or imagenet")]  # noqa: UP045
ImageSize = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="side of the images in pixels; by default that of the data, where its images have one size, "
        "or what the model was designed for",
        min=8,
    ),
]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device", help="host, onnx, cuda, ssh:user@host:onnx, pixel1, android:SERIAL ...; see: amc-hw devices"
    ),
]
TableFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--table", help="latency table to use and extend; by default one for each device in the user's cache"),
]
Run = Annotated[Path, typer.Option("--run", help="folder that holds everything about this compression")]
Seed = Annotated[int, typer.Option(help="decides everything that chance plays a part in", min=0)]
Latency = Annotated[Optional[str], typer.Option(help="latency budget: 0.5x of the original's, or 12ms")]  # noqa: UP045
Macs = Annotated[Optional[str], typer.Option(help="budget of multiply-accumulates: 0.5x, or 150M")]  # noqa: UP045
Params = Annotated[Optional[str], typer.Option(help="budget of parameters: 0.5x, or 2M")]  # noqa: UP045
Size = Annotated[Optional[str], typer.Option(help="budget of the exported file: 0.5x, or 500kB")]  # noqa: UP045
Rounds = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="larger budgets to prune and fine-tune to first, with commas between them: 0.5x,0.35x,0.25x"),
]
Importance = Annotated[str, typer.Option(help="which channels a group keeps: reconstruction, magnitude or taylor")]
Reward = Annotated[
    str, typer.Option(help="resource (-Error within the budget) or accuracy_guaranteed (-Error x log(cost))")
]
AccuracyFloor = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="with accuracy_guaranteed: least accuracy before fine-tuning, on the search split: 0.9"),
]
Strategy = Annotated[str, typer.Option(help="auto, ddpg, ddpg-multi, greedy, knapsack, uniform or random")]
AgentRun = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--agent", help="with ddpg-multi: folder of an earlier run whose trained agent to begin with"),
]
Episodes = Annotated[int, typer.Option(help="policies to score", min=1)]
KeepBlocks = Annotated[bool, typer.Option("--keep-blocks", help="leave no residual block out, prune channels only")]
Exclude = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(metavar="PATTERN", help="layers that keep all their channels: classifier, 'layer1.*'; repeatable"),
]
Include = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(metavar="PATTERN", help="the only layers that may lose channels: 'layer3.*'; repeatable"),
]
Compute = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="where to train, prune and score: cpu, cuda or cuda:1; by default a GPU if there is one"),
]
Epochs = Annotated[int, typer.Option(help="epochs of fine-tuning", min=0)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else there")]


def example(text: str) -> str:
    """Return an example of a command for the end of its help."""
    return f"Example: {text}"


def absolute(path: Path | None) -> str | None:
    """Return an option's path as a run's settings keep it: the same wherever the run goes on."""
    return str(path.expanduser().resolve()) if path else None
