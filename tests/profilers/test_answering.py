"""A profiler program does not outlive those who listen to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from amc_hw.devices.computers.profiler_process import ProfilerProcess
from amc_hw.errors import DeviceError

PROGRAM = """
import sys, time
sys.path.append(sys.argv[1])
from answering import serve

def work(request):
    print("started", file=sys.stderr, flush=True)
    for _ in range(3000):
        time.sleep(0.01)
    return {}

serve({"work": work})
"""
FOLDER = Path(__file__).parents[2] / "profilers"

needs_poll = pytest.mark.skipif(sys.platform == "win32", reason="Windows tells nobody that a pipe has no reader")


@needs_poll
def test_work_ends_when_nobody_reads_the_answer() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(FOLDER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdin.write(json.dumps({"do": "work"}).encode() + b"\n")
        program.stdin.flush()
        assert program.stderr.readline() == b"started\n"
        program.stdout.close()  # as a cut connection does; stdin stays open
        assert program.wait(timeout=10) == 1
    finally:
        program.kill()
        program.communicate()


def test_what_else_prints_into_the_connection_is_named() -> None:
    talkative = ProfilerProcess([sys.executable, "-c", "print('Welcome to board!'); input()"])
    with pytest.raises(DeviceError, match="answered 'Welcome to board!': something else prints there"):
        talkative.request(do="describe")
    talkative.close()
