"""Runs of a sweep as tasks of a Ray cluster, each in a process of its own that ends when its task or the sweep does."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from amc_hw.devices.android.names import KIND as ANDROID
from amc_hw.devices.computers.names import KINDS, SSH
from amc_hw.errors import DeviceError, UsageError, first_line
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import make_folder
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT, Progress
from amc_hw.sweep.jobs import GRACE_S, last_line, run_all

MISSING = "ray= needs an extra of amc-hw: pip install 'amc-hw[ray]'"
CURE = "give out= a folder that all nodes of the Ray cluster share under the same path."
LOCAL, AUTO = "local", "auto"
POLL_S = 0.5
SEEN_S = 15.0
"""What a shared file system has for showing on one machine what another one wrote."""
CONNECT_S = 5.0
_CLIENT = "ray://"

_LOG = logging.getLogger(__name__)


class _Node(TypedDict):
    """What Ray tells of a node; ``Resources`` are amounts by name."""

    Alive: bool
    NodeName: str
    Resources: dict[str, float]


@dataclass(frozen=True)
class Cluster:
    """Where the runs of a sweep go.

    Attributes:
        address: ``local`` starts Ray on this machine, ``auto`` is the cluster that this machine is a node of; else
            ``HOST:PORT`` or ``ray://HOST:PORT``.
        compute: ``cpu``, ``cuda``, or None for a GPU where a node that can take the runs has one.
    """

    address: str
    compute: str | None = None


def device_resource(device: str) -> str | None:
    """Return the Ray resource that a run for a device holds; None for the devices that every node is itself.

    Options do not matter, ``pixel1:cores=c`` and ``pixel1`` are one phone; so are all runtimes of a machine behind ssh.
    """
    kind, _, rest = device.partition(":")
    if kind in KINDS:
        return None
    if kind == SSH:
        return f"amc-hw:{kind}:{rest.partition(':')[0]}"
    target = ",".join(part for part in rest.split(",") if part and "=" not in part) if kind == ANDROID else ""
    return f"amc-hw:{kind}:{target}" if target else f"amc-hw:{kind}"


def run_on_ray(
    folder: Path,
    todo: Mapping[Path, RunConfig],
    cluster: Cluster,
    jobs: int,
    progress: Progress,
    is_finished: Callable[[Path, RunConfig], bool],
    relatives: Mapping[Path, Sequence[Path]],
) -> dict[Path, str]:
    """Compress on the nodes of a Ray cluster and return why runs failed; however this ends, no process stays behind.

    Args:
        folder: of the sweep; every node has to see it under the same path.
        todo: run folder in it -> its settings, of one device. What a run shows goes into ``log.txt`` there.
        cluster: where.
        jobs: runs at a time on each node: a run asks for that share of the smallest node's processors.
        progress: is told how many runs are done, and what one of them showed last.
        is_finished: tells by a run's folder whether it has ended with its settings.
        relatives: the folders of the runs that each of them may take over from.

    Raises:
        UsageError: Ray is not installed, or no node can take a run.
        DeviceError: the cluster does not answer.
    """
    if not todo:
        return {}
    errors, shown = dict[Path, str](), {run: _last_line(run) for run in todo}
    with _connected(cluster.address) as ray, _marked(folder) as mark:
        device, alive = next(iter(todo.values())).device, _alive(ray)
        needs, compute = _needs(list(alive.values()), device, cluster, jobs)
        task = ray.remote(_run).options(**needs)
        others = {run: [each.resolve() for each in relatives.get(run, ())] for run in todo}
        runs = {
            task.remote(run.resolve(), config, compute, mark, Path.cwd(), others[run]): run
            for run, config in todo.items()
        }
        waiting = list(runs)
        progress("runs of the sweep", 0, len(todo), f"sent to the Ray cluster {cluster.address}")
        try:
            while waiting:
                ready, waiting = ray.wait(waiting, timeout=POLL_S)
                alive = _warn_of_lost(alive, _alive(ray))
                for ref in ready:
                    run = runs[ref]
                    if error := _failure(ray, ref):
                        errors[run] = error
                    elif not _in_time(partial(is_finished, run, todo[run])):
                        errors[run] = f"it ended well, but {run} does not show it here; {CURE}"
                for run in (runs[ref] for ref in waiting):
                    line = _last_line(run)
                    if line != shown[run]:
                        shown[run] = line
                        progress("runs of the sweep", len(todo) - len(waiting), len(todo), f"{line} [{run.name}]")
        finally:
            for ref in waiting:
                ray.cancel(ref)  # a KeyboardInterrupt in the task, which lets its run end
            if waiting:
                ray.wait(waiting, num_returns=len(waiting), timeout=GRACE_S)
    return errors


def _run(run: Path, config: RunConfig, compute: str, mark: Path, sweep_cwd: Path, relatives: Sequence[Path]) -> str:
    """Compress on a node, in a process as `run_all` starts it; return why it failed, or nothing."""
    if not _in_time(mark.exists):
        return f"{mark.parent} is not the sweep's folder on {socket.gethostname()}, where the run was sent; {CURE}"
    with contextlib.suppress(OSError):  # names of models and data may be relative
        os.chdir(sweep_cwd)
    return run_all({run: config}, 1, compute, SILENT, {run: relatives}).get(run, "")


def _failure(ray: Any, ref: Any) -> str:
    """Return why a task that has ended failed, or nothing."""
    try:
        failure: str = ray.get(ref)
    except ray.exceptions.RayError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return f"Ray could not run it ({reason}); every node needs Ray, Python and amc-hw in the same versions."
    return failure


def _alive(ray: Any) -> dict[str, _Node]:
    """Return the nodes that are alive, by their identifiers."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _warn_of_lost(before: dict[str, _Node], now: dict[str, _Node]) -> dict[str, _Node]:
    """Say which nodes are gone; Ray itself runs again what ran there."""
    for lost in before.keys() - now.keys():
        _LOG.warning(
            "the Ray cluster has lost its node %s; what ran there is run again on a node that can take it.",
            before[lost]["NodeName"],
        )
    return now


def _last_line(run: Path) -> str:
    return last_line(run) if RunFolder(run).shown.exists() else ""


def _needs(nodes: Sequence[_Node], device: str, cluster: Cluster, jobs: int) -> tuple[dict[str, object], str]:
    """Return what a run asks of its node, and where it computes; what no node has would be waited for for ever."""
    if cluster.compute not in (None, "cpu", "cuda"):
        raise UsageError(f"Ray chooses a run's GPU: with ray=, compute= takes cpu or cuda, not '{cluster.compute}'.")
    offers = [node["Resources"] for node in nodes if node["Resources"].get("CPU", 0) >= 1]
    if not offers:
        raise UsageError(f"no node of the Ray cluster {cluster.address} offers a CPU; add one with: ray start")
    resource = device_resource(device)
    if resource is not None:
        offers = [offer for offer in offers if offer.get(resource, 0) >= 1]
        if not offers:
            start = f"""ray start --address=HEAD:PORT --resources='{{"{resource}": 1}}'"""
            raise UsageError(
                f"no node of the Ray cluster {cluster.address} offers '{resource}'; start the node that has the "
                f"device '{device}' with: {start}"
            )
    with_gpu = [offer for offer in offers if offer.get("GPU", 0) >= 1]
    compute = cluster.compute or ("cuda" if with_gpu else "cpu")
    gpus = 0.0
    if compute == "cuda" or "cuda" in device:
        if not with_gpu:
            raise UsageError(f"no node of the Ray cluster {cluster.address} that can take the runs offers a GPU.")
        offers = with_gpu
        gpus = min(1.0, math.floor(1e4 * min(offer["GPU"] for offer in offers) / jobs) / 1e4)  # Ray counts 1/10000s
    cpus = max(1, int(min(offer["CPU"] for offer in offers)) // jobs)
    return {"num_cpus": cpus, "num_gpus": gpus, "resources": {resource: 1} if resource else {}}, compute


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Yield Ray's module for as long as it is connected."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(MISSING) from error
    if address not in (LOCAL, AUTO):
        _require_answer(address)
    options: dict[str, object] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options["include_dashboard"] = False
    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray has no error of its own for it
        raise DeviceError(
            f"cannot connect to the Ray cluster {address} ({first_line(error)}); start it with ray start --head, or "
            "take ray=local for this machine alone."
        ) from error
    with _silenced():  # the end, too: it prints what Ray has collected
        try:
            yield ray
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep what Ray tells of its nodes from stdout: on a lost one, it prints all of its state there.

    ``log_to_driver`` does not hold for these lines; what does is no setting of Ray's, but of its own debugger.
    """
    try:
        printer: Any = importlib.import_module("ray._private.worker")
        before = printer._worker_logs_enabled
    except (ImportError, AttributeError):  # another version of Ray
        yield
        return
    printer._worker_logs_enabled = False
    try:
        yield
    finally:
        printer._worker_logs_enabled = before


def _require_answer(address: str) -> None:
    """Raise DeviceError where nobody listens: Ray would wait for ever."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"ray= takes local, auto, HOST:PORT or ray://HOST:PORT, not '{address}'.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        raise DeviceError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); start it with: ray start --head"
        ) from error


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """Put a file into a folder by which another machine knows that it sees the same one."""
    mark = make_folder(folder).resolve() / f".sweep-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def _in_time(true: Callable[[], bool]) -> bool:
    """Tell whether something comes true that another machine may have written a moment ago."""
    deadline = time.monotonic() + SEEN_S
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
