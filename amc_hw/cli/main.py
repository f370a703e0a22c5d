"""The command line: its commands, and how it ends. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from amc_hw import __version__
from amc_hw.cli.devices import benchmark, devices, profile
from amc_hw.cli.once import Command
from amc_hw.cli.options import example, with_options
from amc_hw.cli.results import evaluate, export, report
from amc_hw.cli.search import compress, search
from amc_hw.cli.sparsify import sparsify
from amc_hw.cli.sweep import sweep
from amc_hw.cli.table import app as table_app
from amc_hw.cli.terminal import say, say_warnings, watch_for_interrupts
from amc_hw.cli.threads import wait_briefly
from amc_hw.cli.training import finetune, train
from amc_hw.errors import AmcHwError
from amc_hw.processes import require_one_process

_R20 = "--model resnet20 --checkpoint r20.pt --data cifar10"
_COMMANDS: dict[Callable[..., Any], str] = {
    devices: "devices",
    train: "train --model resnet20 --data cifar10 --epochs 160 --lr 0.1 --batch-size 128 --out r20.pt",
    profile: "profile --device host --model torchvision:mobilenet_v2",
    search: f"search {_R20} --latency 0.6x --run runs/r20",
    finetune: "finetune --run runs/r20 --epochs 30",
    export: "export --run runs/r20 --format tflite",
    evaluate: "evaluate runs/r20/model.tflite --data npz:cifar10",
    benchmark: "benchmark model.tflite --device host:threads=2",
    report: "report --run runs/r20",
    compress: f"compress {_R20} --latency 12ms --run runs/r20",
    sweep: "sweep --latency 0.3x,0.5x,0.7x --seeds 3",
    sparsify: "sparsify --size 0.2x --rounds 0.5x,0.35x --run runs/sparse",
}
"""The commands in the order of their list, each with an example."""

app = typer.Typer(
    help="Compress a network to a latency budget measured on the device it will run on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(table_app, name="table")
for _command, _example in _COMMANDS.items():
    app.command(cls=Command, epilog=example(f"amc-hw {_example}"))(_command)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of a failure")] = False,
) -> None:
    if version:
        print(__version__)  # noqa: T201
        raise typer.Exit
    if context.invoked_subcommand not in (None, "train", "finetune"):
        require_one_process(context.invoked_subcommand)


def main() -> None:
    """Run the command line; every failure is one sentence on stderr and an exit status."""
    debug = "--debug" in sys.argv[1:]
    wait_briefly()
    watch_for_interrupts()
    say_warnings()
    try:
        app(prog_name="amc-hw")
    except AmcHwError as error:
        if debug:
            raise
        say(f"error: {with_options(str(error))}")
        sys.exit(error.exit_status)
    except SystemExit as stop:
        if stop.code == 130:  # click turned Ctrl-C into it
            again = {"benchmark", "evaluate", "export"} & set(sys.argv[1:2])
            say("stopped; nothing was kept." if again else "stopped; the same command goes on from here.")
        raise
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"error: {type(error).__name__}: {error}; run it with amc-hw --debug ... to see where.")
        sys.exit(1)
