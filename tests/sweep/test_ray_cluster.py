"""A sweep on a Ray cluster, with a stand-in for Ray: what runs ask for, what fails, and what is cancelled."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import amc_hw

from amc_hw.errors import DeviceError, UsageError
from amc_hw.runs.config import make_config
from amc_hw.runs.progress import SILENT
from amc_hw.sweep import jobs as sweep_jobs
from amc_hw.sweep import ray_cluster as sweep_ray
from amc_hw.sweep.plan import plan_sweep
from amc_hw.sweep.ray_cluster import Cluster, device_resource
from amc_hw.sweep.sweep import sweep

BASE = make_config(model="m", data="digits", episodes=5, epochs=1)
STAND_IN = """
import sys
from pathlib import Path
from amc_hw.sweep import child as sweep_child
from amc_hw.runs.files import append_line, write_json
order = sweep_child.read_order()
run, config = Path(order["run"]), order["config"]
append_line(run.parent / "begun.jsonl", [run.name, order["compute"]])
if config["budget"] == "0.1x":
    sys.exit("error: a budget of 0.1x cannot be reached.")
write_json(run / "config.json", config)
if config["budget"] != "0.2x":
    share = float(config["budget"].rstrip("x"))
    write_json(run / "summary.json", {
        "format": 1, "model": "m", "data": "digits",
        "budget": {"metric": "latency_ms", "target": share, "ratio": share},
        "original": {"accuracy": 0.97, "latency_ms": 1.0},
        "compressed": {"latency_ms": share, "predicted_ms": share, "accuracy": 0.9 + 0.05 * share},
    })
"""


class RayError(Exception):
    """As `ray.exceptions.RayError`."""


class FakeRay:
    """As much of Ray as is used: tasks run where their results are waited for, one after the other."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.offers = nodes
        self.asked: list[dict[str, Any]] = []
        self.cancelled: list[int] = []
        self.tasks: list[Any] = []
        self.connected = False
        self.broken: Exception | None = None
        self.interrupt_at = -1

    def init(self, address: str, **options: object) -> None:
        self.connected = True

    def shutdown(self) -> None:
        self.connected = False

    def nodes(self) -> list[dict[str, Any]]:
        nodes = [{"Alive": True, "NodeID": f"{n}", "NodeName": f"n{n}"} for n in range(len(self.offers))]
        return [{**node, "Resources": offer} for node, offer in zip(nodes, self.offers, strict=True)]

    def remote(self, function: Any) -> Any:
        def submit(*arguments: object) -> int:
            self.tasks.append(lambda: function(*arguments))
            return len(self.tasks) - 1

        def options(**needs: Any) -> Any:
            self.asked.append(needs)
            return SimpleNamespace(remote=submit)

        return SimpleNamespace(options=options)

    def wait(self, refs: Sequence[int], timeout: float, num_returns: int = 1) -> tuple[list[int], list[int]]:
        if refs[0] == self.interrupt_at and not self.cancelled:
            raise KeyboardInterrupt
        return [refs[0]], list(refs[1:])

    def get(self, ref: int) -> str:
        if self.broken:
            raise self.broken
        return self.tasks[ref]()

    def cancel(self, ref: int) -> None:
        self.cancelled.append(ref)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay({"CPU": 4.0, "GPU": 2.0}, {"CPU": 8.0}, {"CPU": 2.0, "amc-hw:pixel1": 1.0})
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(sweep_jobs, "COMMAND", [sys.executable, "-c", STAND_IN])
    monkeypatch.setattr(sweep_ray, "SEEN_S", 0.1)
    monkeypatch.setattr(sweep_ray, "POLL_S", 0.02)
    return fake


def run_sweep(folder: Path, *budgets: str, compute: str | None = "cpu", jobs: int = 1, device: str = "host") -> list:
    base = BASE.model_copy(update={"device": device})
    return sweep(folder, plan_sweep(folder, base, budgets, 1), SILENT, jobs=jobs, cluster=Cluster("auto", compute))


def begun(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "begun.jsonl").read_text().splitlines()]


def test_without_ray_one_sentence_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert amc_hw("sweep", "--latency", "0.5x", "--ray", "auto", "--out", tmp_path) == 2
    assert capsys.readouterr().err.strip() == "error: --ray needs an extra of amc-hw: pip install 'amc-hw[ray]'"


def test_finished_runs_are_not_repeated_and_failed_ones_are_told(ray: FakeRay, tmp_path: Path) -> None:
    rows = run_sweep(tmp_path, "0.1x", "0.2x", "0.5x")
    assert rows[0].error == "a budget of 0.1x cannot be reached."
    assert "does not show it here; give out= a folder that all nodes" in rows[1].error
    assert rows[2].summary.compressed.latency_ms == 0.5
    assert not ray.connected
    assert not list(tmp_path.glob(".sweep-*"))
    run_sweep(tmp_path, "0.1x", "0.5x", "0.7x")
    assert [name for name, _ in begun(tmp_path)[3:]] == ["0.1x-seed0", "0.7x-seed0"]


def test_a_node_that_sees_another_folder_runs_nothing(
    ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "touch", lambda file: None)
    assert "is not the sweep's folder on" in run_sweep(tmp_path, "0.5x")[0].error
    assert not (tmp_path / "begun.jsonl").exists()


def test_a_task_that_ray_loses_is_told(ray: FakeRay, tmp_path: Path) -> None:
    ray.broken = RayError("The worker died.\nNo module named 'amc_hw'")
    assert "(No module named 'amc_hw'); every node needs" in run_sweep(tmp_path, "0.5x")[0].error


def test_ctrl_c_cancels_every_task(ray: FakeRay, tmp_path: Path) -> None:
    ray.interrupt_at = 1
    with pytest.raises(KeyboardInterrupt):
        run_sweep(tmp_path, "0.5x", "0.6x", "0.7x")
    assert ray.cancelled == [1, 2]
    assert not ray.connected


@pytest.mark.parametrize(
    ("compute", "jobs", "device", "asked", "place"),
    [
        ("cpu", 1, "host", {"num_cpus": 2, "num_gpus": 0, "resources": {}}, "cpu"),
        (None, 2, "host", {"num_cpus": 2, "num_gpus": 1, "resources": {}}, "cuda"),
        ("cuda", 3, "host", {"num_cpus": 1, "num_gpus": 0.6666, "resources": {}}, "cuda"),
        ("cpu", 1, "cuda", {"num_cpus": 4, "num_gpus": 1, "resources": {}}, "cpu"),
        (None, 1, "pixel1:cores=c", {"num_cpus": 2, "num_gpus": 0, "resources": {"amc-hw:pixel1": 1}}, "cpu"),
    ],
)
def test_what_a_run_asks_for(ray, tmp_path, compute, jobs, device, asked, place) -> None:
    run_sweep(tmp_path, "0.5x", compute=compute, jobs=jobs, device=device)
    assert ray.asked == [asked]
    assert begun(tmp_path) == [["0.5x-seed0", place]]


@pytest.mark.parametrize(
    ("compute", "device", "cure"),
    [
        ("cpu", "pixel2", "ray start --address=HEAD:PORT --resources='{\"amc-hw:pixel2\": 1}'"),
        ("cuda", "pixel1", "that can take the runs offers a GPU"),
        ("cuda:1", "host", "takes cpu or cuda"),
    ],
)
def test_what_no_node_has_is_not_waited_for(ray, tmp_path, compute, device, cure) -> None:
    with pytest.raises(UsageError, match="Ray") as raised:
        run_sweep(tmp_path, "0.5x", compute=compute, device=device)
    assert cure in str(raised.value)
    assert not ray.tasks


def test_an_address_that_nobody_answers_at_is_not_waited_for(ray: FakeRay, tmp_path: Path) -> None:
    plan = plan_sweep(tmp_path, BASE, ["0.5x"], 1)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        with pytest.raises(DeviceError, match=f"127.0.0.1:{port} .*ray start --head"):
            sweep(tmp_path, plan, SILENT, cluster=Cluster(f"127.0.0.1:{port}"))
    with pytest.raises(UsageError, match="HOST:PORT"):
        sweep(tmp_path, plan, SILENT, cluster=Cluster("head"))


@pytest.mark.parametrize(
    ("device", "resource"),
    [
        ("host:threads=2", None),
        ("onnx", None),
        ("pixel1:cores=c,delegate=gpu", "amc-hw:pixel1"),
        ("android", "amc-hw:android"),
        ("android:SERIAL,threads=4", "amc-hw:android:SERIAL"),
        ("android:192.168.0.2:5555", "amc-hw:android:192.168.0.2:5555"),
        ("ssh:user@board:onnx:batch_size=32", "amc-hw:ssh:user@board"),
    ],
)
def test_a_device_is_a_resource_whatever_its_options(device: str, resource: str | None) -> None:
    assert device_resource(device) == resource
