"""One run of a sweep in a process of its own: stdin brings its settings in a line, and ends when the sweep does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from amc_hw.cli.options import with_options
from amc_hw.cli.terminal import progress_bar, say, say_warnings
from amc_hw.errors import AmcHwError
from amc_hw.sweep.jobs import Order

GRACE_S = 10.0
_STDIN = 0


def read_order() -> Order:
    """Return what is to be done, and from now on end with the sweep."""
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(_STDIN, 1 << 16)
        if not more:
            sys.exit("error: the sweep ended before it said what to do.")
        line += more
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's workers block it
    threading.Thread(target=_end_with_sweep, daemon=True).start()
    order: Order = json.loads(line)
    return order


def _end_with_sweep() -> None:
    # Not sys.stdin: a thread that waits in it keeps the interpreter from ending.
    while os.read(_STDIN, 1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_S)
    os._exit(130)


def main() -> None:
    """Compress as the order says; a failure is one sentence on stderr."""
    order = read_order()
    say_warnings()
    import torch

    from amc_hw.pipeline.compress import compress
    from amc_hw.pipeline.family import Family
    from amc_hw.runs.config import RunConfig

    try:
        with progress_bar() as report:
            run, config, compute = Path(order["run"]), RunConfig.model_validate(order["config"]), order["compute"]
            compress(run, config, report, torch.device(compute), Family(tuple(map(Path, order["relatives"]))))
    except AmcHwError as error:
        say(f"error: {with_options(str(error))}")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here.")
        sys.exit(130)


if __name__ == "__main__":
    main()
