"""What the command line does besides printing."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from amc_hw.terminal import progress_bar, watch_for_interrupts


def test_a_swallowed_interrupt_is_raised_at_the_next_report() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        watch_for_interrupts()
        with pytest.raises(KeyboardInterrupt), progress_bar() as report:  # noqa: PT012
            report(0, 2, "before")
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            report(1, 2, "after")
    finally:
        watch_for_interrupts()
        signal.signal(signal.SIGINT, before)
