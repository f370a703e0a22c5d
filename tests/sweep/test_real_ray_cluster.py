"""A sweep on a real Ray cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

cluster_utils = pytest.importorskip("ray.cluster_utils")

STAND_IN = """
import json, os, sys, time
from pathlib import Path
from amc_hw.sweep import child as sweep_child
from amc_hw.runs.files import append_line, write_json
order = sweep_child.read_order()
run, config = Path(order["run"]), order["config"]
append_line(run.parent / "begun.jsonl", [run.name, int(os.environ["RAY_RAYLET_PID"]), os.getpid()])
while not (run.parent / "one node is dead").exists():
    time.sleep(0.05)
write_json(run / "config.json", config)
share = float(config["budget"].rstrip("x"))
write_json(run / "summary.json", {
    "format": 1, "model": "m", "data": "digits",
    "budget": {"metric": "latency_ms", "target": share, "ratio": share},
    "original": {"accuracy": 0.97, "latency_ms": 1.0},
    "compressed": {"latency_ms": share, "predicted_ms": share, "accuracy": 0.9 + 0.05 * share},
})
"""
"""Stands in for a run: it tells where it is and waits for the accident."""

SWEEP = f"""
import sys
from pathlib import Path
from amc_hw.sweep import ray_cluster as sweep_ray
from amc_hw.runs.config import make_config
from amc_hw.runs.progress import SILENT
from amc_hw.sweep.plan import plan_sweep
from amc_hw.sweep.sweep import sweep
from amc_hw.cli.terminal import say_warnings

def on_the_node(*arguments):  # Ray sends what this file defines along
    from amc_hw.sweep import jobs as sweep_jobs
    from amc_hw.sweep import ray_cluster as sweep_ray

    sweep_jobs.COMMAND = [sys.executable, "-c", {STAND_IN!r}]
    return sweep_ray._run(*arguments)

sweep_ray._run = on_the_node
say_warnings()
folder = Path(sys.argv[1])
plan = plan_sweep(folder, make_config(model="m", data="digits"), ["0.5x", "0.6x", "0.7x"], 1)
for row in sweep(folder, plan, SILENT, cluster=sweep_ray.Cluster(sys.argv[2], "cpu")):
    print(row.budget, row.error or row.summary.compressed.latency_ms)
"""


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A cluster of two nodes with a processor each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = cluster_utils.Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.other = cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(true: Callable[[], bool], sweep: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert sweep.poll() is None, sweep.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_was_lost_with_its_node_is_repeated_on_the_other(two_nodes, tmp_path: Path) -> None:
    begun = tmp_path / "begun.jsonl"

    def begins() -> list[list]:
        return [json.loads(line) for line in begun.read_text().splitlines()] if begun.exists() else []

    command = [sys.executable, "-c", SWEEP, tmp_path, two_nodes.address]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: len(begins()) == 2, sweep)
        dead = two_nodes.other.all_processes["raylet"][0].process.pid
        two_nodes.remove_node(two_nodes.other, allow_graceful=False)
        until(lambda: not any(is_running(pid) for _, raylet, pid in begins() if raylet == dead), sweep)
        until(lambda: sum(node["Alive"] for node in two_nodes.global_state.node_table()) == 1, sweep)
        (tmp_path / "one node is dead").touch()
        told, said = sweep.communicate(timeout=90)
    finally:
        sweep.kill()
        sweep.wait()
    lost = [name for name, raylet, _ in begins() if raylet == dead]
    assert len(lost) == 1
    assert [raylet != dead for name, raylet, _ in begins() if name == lost[0]] == [False, True]
    assert told.splitlines() == ["0.5x 0.5", "0.6x 0.6", "0.7x 0.7"]
    assert "the Ray cluster has lost its node" in said
    assert len(said.splitlines()) == 1, said
    assert not [file for file in os.listdir(tmp_path) if file.startswith(".sweep-")]
