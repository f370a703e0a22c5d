"""Opens computers by name: ``host:threads=2``, ``onnx:provider=cuda``, ``ssh:user@host:onnx:batch_size=32``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from amc_hw.devices.base import Device
from amc_hw.devices.computers.cuda import DTYPES, CudaDevice
from amc_hw.devices.computers.executorch import ExecutorchDevice
from amc_hw.devices.computers.host import HostDevice, require_cores
from amc_hw.devices.computers.machines import SshMachine
from amc_hw.devices.computers.onnx import OnnxDevice
from amc_hw.errors import UsageError, unknown_name
from amc_hw.policy import PRECISIONS, Precision

SSH = "ssh"
Words: TypeAlias = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Kind:
    """A runtime on a computer.

    Attributes:
        build: makes the device; takes the options, ``name`` and ``machine``.
        numbers: its options that are whole numbers from 1.
        words: its options that are words, with all that may be said; nothing listed is anything.
        format: of the files that it runs.
    """

    build: Callable[..., Device]
    numbers: tuple[str, ...]
    words: Words = field(default_factory=dict)
    format: str = "tflite"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Of the files that it runs."""
        return PRECISIONS[self.format]


KINDS = {
    "host": Kind(HostDevice, ("threads",)),
    "onnx": Kind(OnnxDevice, ("threads", "batch_size"), {"provider": ()}, "onnx"),
    "executorch": Kind(ExecutorchDevice, ("threads",), {}, "pte"),
    "cuda": Kind(
        CudaDevice,
        ("batch_size",),
        {
            "mode": ("graph", "eager"),
            "dtype": tuple(DTYPES),
            "layout": ("channels_last", "contiguous"),
            "l2": ("warm", "cold"),
        },
        "aten",
    ),
}


@dataclass(frozen=True)
class Computer:
    """What a computer's name says: its runtime with options, and the machine behind ssh, where it is one."""

    kind: str
    options: Mapping[str, int | str]
    destination: str = ""
    port: int | None = None


def computer(name: str) -> Computer:
    """Read a computer's name; nothing is opened.

    Raises:
        UsageError: there is no such kind of device, or an option that it does not have.
    """
    kind, _, rest = name.partition(":")
    if kind != SSH:
        options = _options(name, kind, rest)
        if "threads" in options:
            require_cores(int(options["threads"]))
        return Computer(kind, options)
    destination, *parts = rest.split(":")
    port = int(parts.pop(0)) if parts and parts[0].isdecimal() else None
    if not destination or not parts:
        raise UsageError(f"the device '{name}' names no machine and runtime; write ssh:user@host:onnx.")
    kind = parts.pop(0)
    if kind not in KINDS:
        raise unknown_name("device behind ssh", kind, KINDS, "device")
    return Computer(kind, _options(name, kind, ":".join(parts), {"python": ()}), destination, port)


def open_computer(name: str) -> Device:
    """Open a computer, this one or one behind ssh.

    Raises:
        UsageError: there is no such kind of device, or an option that it does not have.
        NotConnectedError: ssh does not reach it.
        DeviceError: its runtime is not installed.
    """
    named = computer(name)
    options = dict(named.options)
    if not named.destination:
        return KINDS[named.kind].build(name=name, **options)
    machine = SshMachine(
        named.destination, named.port, **{key: str(options.pop(key)) for key in ("python",) if key in options}
    )
    return KINDS[named.kind].build(name=name, machine=machine, **options)


def _options(name: str, kind: str, text: str, more_words: Words = MappingProxyType({})) -> dict[str, int | str]:
    """Read ``threads=2,provider=cuda``."""
    numbers, words = KINDS[kind].numbers, {**KINDS[kind].words, **more_words}
    options: dict[str, int | str] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in (*numbers, *words):
            known = f"{', '.join((*numbers, *words))} ({kind}:{numbers[0]}=2)"
            raise UsageError(f"the device '{name}' has an unknown option '{key}'; known: {known}.")
        if key in numbers and not (value.isdecimal() and int(value)):
            raise UsageError(f"the option {key} of the device '{name}' takes a whole number from 1 ({kind}:{key}=2).")
        if not value:
            raise UsageError(f"the option {key} of the device '{name}' has no value.")
        if key in words and words[key] and value not in words[key]:
            if value in KINDS[kind].precisions:  # what earlier versions took, whose files were all of fp32
                raise UsageError(
                    f"the option {key} of the device '{name}' is for files of fp32 ({' or '.join(words[key])}); leave "
                    f"it out: a file of precision={value} is computed in {value}."
                )
            raise unknown_name(key, value, words[key], "device")
        options[key] = int(value) if key in numbers else value
    return options
