"""A network in every format that computers run, and a machine behind ssh."""

from __future__ import annotations

import getpass
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def small_files(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Path]:
    """A convolution and a mean over its positions, in every format that can be written here."""
    files = {"aten": tmp_path / "small model.aten"}
    files["aten"].write_bytes(small_aten())
    if importlib.util.find_spec("ai_edge_litert"):
        files["tflite"] = request.getfixturevalue("small_model")
    if importlib.util.find_spec("onnx"):
        files["onnx"] = tmp_path / "small model.onnx"
        files["onnx"].write_bytes(small_onnx())
    if importlib.util.find_spec("executorch"):
        files["pte"] = tmp_path / "small model.pte"
        files["pte"].write_bytes(small_pte())
    return files


@lru_cache
def small_pte() -> bytes:
    """Two matrix products: maps would be turned from channels first to last, and back."""
    import torch
    from torch import nn

    from amc_hw.formats.executorch.convert import to_pte

    torch.manual_seed(0)
    return to_pte(nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 64)), torch.zeros(1, 512))


def small_aten() -> bytes:
    filters = np.random.default_rng(0).normal(0, 0.1, (16, 8, 3, 3)).astype(np.float32)
    convolution = [{"tensor": "image"}, {"tensor": "filters"}, None, [1, 1], [1, 1], [1, 1], 1]
    graph = {
        "format": 1,
        "input": "image",
        "output": "mean",
        "shapes": {"image": [1, 8, 16, 16], "filters": [16, 8, 3, 3], "conv2d": [1, 16, 16, 16], "mean": [1, 16]},
        "weights": ["filters"],
        "calls": [
            {"name": "conv2d", "op": "aten.conv2d.default", "args": convolution},
            {"name": "mean", "op": "aten.mean.dim", "args": [{"tensor": "conv2d"}, [2, 3]]},
        ],
    }
    content = io.BytesIO()
    text = np.frombuffer(json.dumps(graph).encode(), np.uint8)
    np.savez(content, **{"graph": text, "weight:filters": filters})
    return content.getvalue()


def small_onnx() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.normal(0, 0.1, (16, 8, 3, 3)).astype(np.float32), "filters"),
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["sum"], "conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["sum"], ["positive"], "relu"),
        helper.make_node("ReduceMean", ["positive", "axes"], ["mean"], "reduce", keepdims=0),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8, 16, 16])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 16])
    graph = helper.make_graph(nodes, "small", [image], [mean], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture
def ssh_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real sshd on the loopback with keys of its own; its destination, which the client's configuration knows."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("a real sshd is needed: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd as root refuses to start without it
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host_key\nPidFile none\nUsePAM no\n"
        f"StrictModes no\nAuthorizedKeysFile {tmp_path}/user_key.pub\nPermitRootLogin yes\n"
    )
    (tmp_path / "ssh_config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile "
        f"{tmp_path}/user_key\n  UserKnownHostsFile {tmp_path}/known_hosts\n  StrictHostKeyChecking accept-new\n"
    )
    monkeypatch.setenv("AMC_HW_SSH", f"ssh -F {tmp_path}/ssh_config")
    server = subprocess.Popen([sshd, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr
        first = server.stderr.readline()
        assert "listening" in first, first + server.stderr.read()
        yield "board"
    finally:
        server.terminate()
        server.communicate(timeout=10)
