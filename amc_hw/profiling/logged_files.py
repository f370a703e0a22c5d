"""Reads log files and tells which network each is of: a TFLite file, or MobileNetV1 with channels from a JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amc_hw.devices.android.benchmark_log import BenchmarkLog, BenchmarkLogError, parse_log
from amc_hw.devices.android.log_text import decoded
from amc_hw.errors import DeviceError, UsageError, path_of
from amc_hw.latency.mobilenet_v1 import CHANNELS, STRIDES, mobilenet_v1_operators
from amc_hw.latency.operators import Operator
from amc_hw.profiling.import_logs import LoggedNetwork
from amc_hw.profiling.logged_run import file_precision

Count = Annotated[int, Field(ge=1, lt=1_000_000)]
Operators = Callable[[BenchmarkLog], Sequence[Operator]]
_CONVERSION = re.compile(r"(?:DE)?QUANTIZE\b|Convert \(NC(?:, F32, QS8|, QS8, F32)?\)")
"""What makes integers of a float input, or floats of an integer output."""


class _Variant(BaseModel):
    model_config = ConfigDict(strict=True)
    stem: Count
    blocks: list[Count]


class _Channels(BaseModel):
    """A channels file: MobileNetV1's variants by name; other fields are for people."""

    model_config = ConfigDict(strict=True)
    strides: list[Count] = list(STRIDES)
    models: Annotated[dict[str, _Variant], Field(min_length=1)]


def logged_networks(
    logs: Sequence[Path], profiles: Sequence[Path], model: str, channels: Path | None
) -> list[LoggedNetwork]:
    """Read logs, and gather the repeats of each network.

    Args:
        logs: what benchmark_model printed, one file for each run.
        profiles: files of ``--op_profiling_output_file``, csv or proto, in the order of the logs; empty where
            the logs hold their own.
        model: ``mobilenet_v1`` (TensorFlow's), or a .tflite file.
        channels: for ``mobilenet_v1``, a JSON file ``{"models": {NAME: {"stem": 32, "blocks": [...]}}}``; a log
            belongs to the variant whose name its own file name begins with. None: the original's channels.

    Raises:
        UsageError: a file is missing or there twice, or it is not clear which network it is of.
        BenchmarkLogError: a log is damaged; the message names the file.
        DeviceError: ``model`` is a .tflite file, and LiteRT is not installed.
    """
    if profiles and len(profiles) != len(logs):
        raise UsageError(f"there are {len(profiles)} profile= files for {len(logs)} logs; give one for each, in order.")
    networks = _networks(model, channels)
    runs: dict[tuple[str, tuple[Operator, ...]], list[BenchmarkLog]] = {}
    known: dict[tuple[object, object], Path] = {}
    for index, file in enumerate(logs):
        name = _variant(file, list(networks))
        log = _read_log(file, profiles[index] if profiles else None)
        _require_original(file, log, model, channels)
        if (log.regular, log.operators) in known:
            first = known[log.regular, log.operators]
            raise UsageError(f"{file} is the same log as {first}; give each run's log once.")
        known[log.regular, log.operators] = file
        runs.setdefault((name, tuple(networks[name](log))), []).append(log)
    precision = file_precision(Path(model), _read(Path(model))) if model.endswith(".tflite") else None
    return [LoggedNetwork(name, operators, own, precision) for (name, operators), own in runs.items()]


def _networks(model: str, channels: Path | None) -> dict[str, Operators]:
    """Return the networks that logs can be of: name -> what lists the operators of a log's network."""
    if model.endswith(".tflite"):
        if channels is not None:
            raise UsageError("a .tflite file has its own channels; leave channels= out.")
        content = _read(Path(model))
        try:
            from amc_hw.formats.tflite.graph import TfliteGraph
        except ImportError as error:
            raise DeviceError("reading a TFLite file needs LiteRT: pip install ai-edge-litert") from error

        operators = TfliteGraph(content).operators()
        return {Path(model).stem: lambda log: operators}
    if model != "mobilenet_v1":
        raise UsageError(
            f"the operators of '{model}' are not known here; name the .tflite file that was run, or mobilenet_v1."
        )
    if channels is None:
        return {model: _mobilenet_v1(CHANNELS, STRIDES)}
    try:
        described = _Channels.model_validate(json.loads(_read(channels)))
    except ValidationError as error:
        first = error.errors()[0]
        place = path_of(first["loc"]) or "its root"
        raise UsageError(f"{channels} has a bad value at {place}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{channels} is no JSON file of channels ({error}).") from error
    for name, variant in described.models.items():
        if len(variant.blocks) != len(described.strides):
            raise UsageError(
                f"{channels}: {name} has {len(variant.blocks)} blocks for {len(described.strides)} strides."
            )
    return {
        name: _mobilenet_v1((variant.stem, *variant.blocks), described.strides)
        for name, variant in described.models.items()
    }


def _mobilenet_v1(channels: Sequence[int], strides: Sequence[int]) -> Operators:
    def operators(log: BenchmarkLog) -> list[Operator]:
        # Benchmarked graphs are exported with the probabilities or without them, and int8 ones with floats around.
        kinds = [operator.type for operator in log.operators]
        found = mobilenet_v1_operators(channels, strides=strides, softmax=any("SOFTMAX" in k.upper() for k in kinds))
        if kinds and _CONVERSION.match(kinds[0]):
            found.insert(0, Operator("QUANTIZE", (), found[0].inputs, found[0].inputs))
        if kinds and _CONVERSION.match(kinds[-1]):
            found.append(Operator("DEQUANTIZE", (), found[-1].outputs, found[-1].outputs))
        return found

    return operators


def _variant(file: Path, names: Sequence[str]) -> str:
    """Return the name of a log's network; the longest that the file's name begins with, or the only one."""
    if len(names) == 1:
        return names[0]
    found = [name for name in names if file.name.startswith(name)]
    if not found:
        raise UsageError(
            f"it is not clear which network {file.name} is of; let its name begin with one of: {', '.join(names)}."
        )
    return max(found, key=len)


def _require_original(file: Path, log: BenchmarkLog, model: str, channels: Path | None) -> None:
    """Refuse a narrow or small MobileNetV1, as TensorFlow names them, that would be taken for the full one."""
    named = re.search(r"mobilenet_v1_([0-9.]+)_([0-9]+)", log.claims.graph or "")
    if model != "mobilenet_v1" or named is None:
        return
    if named[2] != "224" or (channels is None and float(named[1]) != 1.0):
        raise UsageError(
            f"{file} is of {log.claims.graph}, not of the full MobileNetV1 for 224x224; "
            "name its .tflite file as model=, or for other widths give channels=FILE."
        )


def _read_log(file: Path, profile: Path | None) -> BenchmarkLog:
    content = None if profile is None else _read(profile)
    try:
        return parse_log(decoded(_read(file)), profile=content if content is None else _profile(content))
    except BenchmarkLogError as error:
        raise BenchmarkLogError(f"{file}: {error}") from error


def _profile(content: bytes) -> str | bytes:
    """Return a csv file as text, and a proto as it is."""
    text = decoded(content)
    return text if "Run Order" in text else content


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror or error}; check its path and its permissions."
        ) from error
