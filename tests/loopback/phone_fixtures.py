"""Fixtures of the loopback phone; the folders that use it take them into their conftest."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from loopback_phone import LoopbackPhone, why_not


@pytest.fixture(scope="session")
def phone_is_possible() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def phone(phone_is_possible: None, tmp_path: Path) -> Iterator[LoopbackPhone]:
    """A phone of one's own."""
    with LoopbackPhone(tmp_path / "phone") as phone:
        yield phone


@pytest.fixture
def adb(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Debian's adb with a server, a key and a home of its own; `adb.port` is the server's."""
    program = shutil.which("adb")
    if not program:
        pytest.skip("Debian's adb is missing: apt-get install adb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "ANDROID_ADB_SERVER_PORT": str(port)}

    def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments], input=text, capture_output=True, text=True, env=environment, timeout=60
        )

    run.port = port  # type: ignore[attr-defined]
    run("start-server")
    yield run
    run("kill-server")


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    """A TFLite file: a 3x3 convolution of 8 to 16 channels with ReLU6 on 16x16, and its mean."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    random = np.random.default_rng(0)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.buffers = 3, [], [schema.BufferT()]
    graph = schema.SubGraphT()
    model.subgraphs, graph.tensors, graph.operators = [graph], [], []

    def tensor(name: str, shape: list[int], values: np.ndarray | None = None) -> int:
        entry = schema.TensorT()
        entry.name, entry.shape, entry.buffer = name.encode(), np.array(shape, np.int32), 0
        entry.type = schema.TensorType.FLOAT32
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            entry.buffer = len(model.buffers) - 1
            entry.type = schema.TensorType.INT32 if values.dtype == np.int32 else schema.TensorType.FLOAT32
        graph.tensors.append(entry)
        return len(graph.tensors) - 1

    def operator(code: int, kind: int, options: object, inputs: list[int], output: int) -> None:
        operator_code, entry = schema.OperatorCodeT(), schema.OperatorT()
        operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
        operator_code.version = 1
        model.operatorCodes.append(operator_code)
        entry.opcodeIndex = len(model.operatorCodes) - 1
        entry.inputs, entry.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        entry.builtinOptionsType, entry.builtinOptions = kind, options
        graph.operators.append(entry)

    weights = random.normal(0, 0.1, (16, 3, 3, 8)).astype(np.float32)
    image, middle, output = (
        tensor("image", [1, 16, 16, 8]),
        tensor("conv", [1, 16, 16, 16]),
        tensor("mean", [1, 16]),
    )
    filters, bias = tensor("filters", [16, 3, 3, 8], weights), tensor("bias", [16], np.zeros(16, np.float32))
    axes = tensor("axes", [2], np.array([1, 2], np.int32))
    convolution = schema.Conv2DOptionsT()
    convolution.strideW = convolution.strideH = convolution.dilationWFactor = convolution.dilationHFactor = 1
    convolution.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    kinds, codes = schema.BuiltinOptions, schema.BuiltinOperator
    operator(codes.CONV_2D, kinds.Conv2DOptions, convolution, [image, filters, bias], middle)
    operator(codes.MEAN, kinds.ReducerOptions, schema.ReducerOptionsT(), [middle, axes], output)
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([output], np.int32)
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    file = tmp_path / "small model.tflite"
    file.write_bytes(bytes(builder.Output()))
    return file
