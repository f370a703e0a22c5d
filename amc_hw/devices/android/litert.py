"""LiteRT's own benchmark_model, which runs networks through CompiledModel: its versions, flags and accelerators."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from amc_hw.devices.android.benchmark_model import CURE, download, require_architecture
from amc_hw.errors import DeviceError, unknown_name
from amc_hw.runs.cache import cache_folder
from amc_hw.runs.files import write_bytes

URL = "https://storage.googleapis.com/litert/binaries/{version}/android_arm64/{file}"
ABI = "arm64-v8a"
"""The only architecture of Android that they are published for."""

CHANNELS = ("latest", "nightly")
"""Names that stand for changing versions."""
VERSION = re.compile(r"[0-9]+(?:\.[0-9]+){1,3}(?:[.a-z][a-z0-9]*)?")

ACCELERATORS = ("gpu", "npu")
"""Delegates that have to run a network whole."""
DELEGATES = ("xnnpack", *ACCELERATORS)

_MARK = b"dispatch_library_path"
"""A flag that LiteRT's program knows and TensorFlow Lite's does not, so that it stands in the one's file alone."""


def installed_version() -> str:
    """Return the version of LiteRT that is installed here, or ``latest``."""
    try:
        return version("ai-edge-litert")
    except PackageNotFoundError:
        return CHANNELS[0]


def is_litert(binary: Path) -> bool:
    """Tell LiteRT's benchmark_model from TensorFlow Lite's, by the flags that it knows."""
    return _MARK in binary.read_bytes()


def find_litert(name: str, number: str, abi: str) -> Path:
    """Return one of LiteRT's files for phones: the one kept from an earlier download, or a new download.

    Args:
        name: of the file: ``benchmark_model``, ``libLiteRtDispatch_Qualcomm.so`` ...
        number: its version.
        abi: Android's name of the phone's architecture.

    Raises:
        DeviceError: there is none for the phone, it cannot be downloaded, or it is something else.
    """
    if abi != ABI:
        raise DeviceError(f"LiteRT's {name} is published for {ABI}, and this phone needs {abi or 'another'}; {CURE}.")
    kept = cache_folder("litert") / number / abi / name
    cure = f"put the file there by hand: {kept}, or name another version: runtime=2.2.0"
    if not kept.exists():
        write_bytes(kept, download(URL.format(version=number, file=name), cure))
    require_architecture(kept, abi)
    if name == "benchmark_model" and not is_litert(kept):
        raise DeviceError(f"{kept} is not LiteRT's benchmark_model, because it knows no accelerators; {cure}.")
    return kept


def litert_flags(delegate: str, *, profiled: bool = False, libraries: str = "") -> tuple[str, ...]:
    """Return the flags of LiteRT's benchmark_model; an accelerator has to take the whole network.

    Args:
        delegate: one of `DELEGATES`.
        profiled: whether it prints the time of every operator.
        libraries: folder on the phone with the plug-ins of its NPU.

    Raises:
        UsageError: LiteRT has no such delegate.
    """
    if delegate not in DELEGATES:
        raise unknown_name("delegate", delegate, DELEGATES)
    profile = ("--use_profiler=true",) if profiled else ()
    if delegate not in ACCELERATORS:
        return ("--use_cpu=true", *profile)
    whole = ("--use_cpu=false", "--require_full_delegation=true")
    return (f"--use_{delegate}=true", *whole, *plugin_flags(delegate, libraries), *profile)


def look_flags(delegate: str, info: str, libraries: str = "") -> tuple[str, ...]:
    """Return the flags with which nothing is run, and a file tells what runs where, the processor taking the rest.

    Args:
        delegate: one of `ACCELERATORS`.
        info: the file on the phone, a ``ModelRuntimeDetails`` message.
        libraries: as in `litert_flags`.
    """
    rest = ("--use_cpu=true", "--dry_run=true", f"--model_runtime_info_output_file={info}")
    return (f"--use_{delegate}=true", *plugin_flags(delegate, libraries), *rest)


def plugin_flags(delegate: str, libraries: str) -> tuple[str, ...]:
    """Return where the program finds the plug-ins of an NPU."""
    if delegate != "npu":
        return ()
    return (f"--dispatch_library_path={libraries}", f"--compiler_plugin_library_path={libraries}")
