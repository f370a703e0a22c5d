"""Which benchmark_model measures on a phone: LiteRT's, which comes in versions, or TensorFlow Lite's nightly."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from amc_hw.devices.android import benchmark_model, litert, npu
from amc_hw.devices.android.devices_file import LITERT, TFLITE, PhoneSettings
from amc_hw.errors import DeviceError, UsageError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """A benchmark_model and what belongs to it.

    Attributes:
        file: the program on this computer.
        litert: whether it is LiteRT's.
        version: of LiteRT, "" where nobody says it.
        libraries: files that are pushed into a folder of their own, for an NPU.
    """

    file: Path
    litert: bool = False
    version: str = ""
    libraries: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What a fingerprint calls it."""
        return "litert benchmark_model" if self.litert else "benchmark_model"

    @cached_property
    def digest(self) -> str:
        """The sha256 of the program."""
        return _digest([self.file])

    @cached_property
    def libraries_digest(self) -> str:
        """The sha256 of its libraries, in their order."""
        return _digest(self.libraries)

    def full_version(self) -> str:
        """Return what tells it from all others: its version where it has one, and the hashes of its files."""
        version = f"sha256:{self.digest}"
        if self.version:
            version = f"{self.version} {version}"
        return f"{version} npu:{self.libraries_digest[:20]}" if self.libraries else version

    def flags(self, delegate: str, profile: str | None, libraries: str) -> tuple[str, ...]:
        """Return its flags for a run.

        Args:
            delegate: that runs the network.
            profile: file on the phone for the time of every operator, or None; LiteRT's program prints them instead.
            libraries: the folder on the phone that has its libraries.
        """
        if not self.litert:
            return benchmark_model.tflite_flags(delegate, profile)
        flags = litert.litert_flags(delegate, profiled=profile is not None, libraries=libraries)
        return (*flags, *npu.npu_flags(self.libraries))


def find_runtime(phone: Mapping[str, str], settings: PhoneSettings) -> Runtime:
    """Return what measures on a phone: a binary that the user named, else LiteRT's, else TensorFlow Lite's nightly.

    Args:
        phone: its properties ``abi``, ``maker``, ``soc``, ``board`` and ``hardware``.
        settings: how it is measured. Where they name a runtime there is no other in its place.

    Raises:
        UsageError: what the user named does not exist, or does not fit together.
        DeviceError: a file is missing and cannot be downloaded; the message says where to put it by hand.
    """
    found = _named(phone["abi"], settings) or _official(phone["abi"], settings)
    if settings.delegate != "npu":
        return found
    version = found.version or litert.installed_version()
    libraries = npu.npu_libraries(phone, version, settings.npu_libraries)
    return Runtime(found.file, True, found.version, libraries)


def _named(abi: str, settings: PhoneSettings) -> Runtime | None:
    """Return the binary that the user named, which must be of the runtime that was named, and have the delegate."""
    file = benchmark_model.named_binary(abi, settings.benchmark_model)
    if file is None:
        return None
    is_litert = litert.is_litert(file)
    of = "LiteRT's" if is_litert else "TensorFlow Lite's"
    if settings.runtime and is_litert == (settings.runtime == TFLITE):
        raise UsageError(
            f"{file} is {of} benchmark_model, not one of runtime={settings.runtime}; leave one of them out."
        )
    known = litert.DELEGATES if is_litert else benchmark_model.DELEGATES
    if settings.delegate not in known:
        raise UsageError(
            f"{file} is {of} benchmark_model, which has no delegate {settings.delegate}, only {', '.join(known)}; "
            "leave it out, or choose another delegate."
        )
    return Runtime(file, is_litert, "" if settings.runtime in (TFLITE, LITERT) else settings.runtime)


def _official(abi: str, settings: PhoneSettings) -> Runtime:
    """Return LiteRT's binary, or TensorFlow Lite's where the settings ask for it or leave it open and LiteRT fails."""
    if settings.runtime == TFLITE or settings.delegate not in litert.DELEGATES:
        return Runtime(benchmark_model.find_binary(abi))
    version = litert.installed_version() if settings.runtime in ("", LITERT) else settings.runtime
    try:
        return Runtime(litert.find_litert("benchmark_model", version, abi), True, version)
    except DeviceError as error:
        if settings.runtime or settings.delegate not in benchmark_model.DELEGATES:
            raise
        try:
            nightly = Runtime(benchmark_model.find_binary(abi))
        except DeviceError as second:
            both = f"{str(error).rstrip('.')}; nor is TensorFlow Lite's nightly to be had: {second}"
            raise DeviceError(both) from second
        if abi == litert.ABI:
            _LOG.warning("measuring with TensorFlow Lite's nightly, in a table of its own (runtime=tflite): %s", error)
        return nightly


def _digest(files: list[Path] | tuple[Path, ...]) -> str:
    known = hashlib.sha256()
    for file in files:
        known.update(file.read_bytes())
    return known.hexdigest()
