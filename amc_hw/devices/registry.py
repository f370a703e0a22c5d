"""Finds a device by the name that the user wrote."""

from __future__ import annotations

from dataclasses import dataclass

from amc_hw.devices.android.devices_file import DELEGATES, OPTIONS, named_phones
from amc_hw.devices.android.names import KIND, Phone, found_phones, is_phone, open_phone, phone_settings
from amc_hw.devices.base import Device
from amc_hw.devices.computers.host import own_cores
from amc_hw.devices.computers.names import KINDS, SSH, computer, open_computer
from amc_hw.devices.computers.onnx import installed_providers
from amc_hw.errors import UsageError, unknown_name
from amc_hw.policy import PRECISIONS, Precision


@dataclass(frozen=True)
class Found:
    """A device that can be named here, and what is missing if it cannot be used.

    Attributes:
        name: as ``--device`` takes it.
        description: what it is.
        missing: why it cannot be measured now, with the cure; "" where it can.
        kind: of the runtimes: ``host``, ``onnx``, ``android`` ...
        formats: of the files that it runs.
        precisions: of these files.
        options: that may stand behind its name.
        threads: of the runtime, by this name.
        cores: that it is measured on, by this name: how many this machine has, or the numbers that the devices file
            says; None where the device decides.
    """

    name: str
    description: str
    missing: str = ""
    kind: str = ""
    formats: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    options: tuple[str, ...] = ()
    threads: int | None = None
    cores: int | tuple[int, ...] | None = None

    @property
    def in_reach(self) -> bool:
        """Whether it can be measured now."""
        return not self.missing


def open_device(name: str, precision: Precision = "fp32") -> Device:
    """Open a device: ``host:threads=2``, ``onnx``, ``ssh:user@host:onnx``, ``android:SERIAL``, ``pixel1`` ...

    Args:
        name: of the device.
        precision: of the files that it is measured with.

    Raises:
        UsageError: there is no such device, or it does not have an option, or files of the precision.
        NotConnectedError: the device is known by name, but it is not here now.
        DeviceError: the device is there but cannot be used.
    """
    require_device_name(name, precision)
    device = open_phone(name) if is_phone(name) else open_computer(name)
    device.precision = precision
    return device


def require_device_name(name: str, precision: Precision = "fp32") -> None:
    """Raise UsageError where there is no such device, option or precision of its files; nothing is opened."""
    known = precisions_of(name)
    if precision not in known:
        raise UsageError(f"the device '{name}' runs {', '.join(known)}, not {precision}; choose another precision=.")


def precisions_of(name: str) -> tuple[Precision, ...]:
    """Return the precisions of the files that a device runs; nothing is opened.

    Raises:
        UsageError: there is no such device, or it does not have an option.
    """
    if is_phone(name):
        phone_settings(name)
        return PRECISIONS["tflite"]
    kind = name.partition(":")[0]
    if kind not in (*KINDS, SSH):
        raise unknown_name("device", kind, (*KINDS, SSH, KIND, *named_phones()), "device")
    return KINDS[computer(name).kind].precisions


def format_of(name: str) -> str:
    """Return the format of the files that a device runs; nothing is opened. For errors see `precisions_of`."""
    precisions_of(name)
    return "tflite" if is_phone(name) else KINDS[computer(name).kind].format


def clean_device(name: str) -> None:
    """Remove everything that amc-hw put on a device.

    Raises:
        UsageError: there is no such device, or nothing is ever put on it.
        DeviceError: it is not here, or refuses.
    """
    if not is_phone(name):
        raise UsageError(f"nothing is put on the device '{name}'; only phones are cleaned: android, android:SERIAL ...")
    phone = open_phone(name)
    try:
        phone.clean()
    finally:
        phone.close()


def found_devices() -> list[Found]:
    """List what can be measured from here."""
    from importlib.util import find_spec
    from shutil import which

    absent = [package for package in ("ai-edge-litert", "litert-torch") if not find_spec(package.replace("-", "_"))]
    litert = f"LiteRT: pip install {' '.join(absent)}" if absent else ""
    onnx = "" if find_spec("onnxruntime") else "ONNX Runtime: pip install 'amc-hw[onnx]'"
    executorch = "" if find_spec("executorch") else "ExecuTorch: pip install 'amc-hw[executorch]'"
    gpu = "" if which("nvidia-smi") else "an NVIDIA GPU"
    return [
        _here("host", "this machine's processor with LiteRT (XNNPACK)", litert),
        _here("onnx", "this machine with ONNX Runtime; its providers by name: onnx:provider=cuda", onnx),
        _here("executorch", "this machine's processor with ExecuTorch (XNNPACK)", executorch),
        _here("cuda", "this machine's NVIDIA GPU with PyTorch", gpu),
        Found("ssh", "another computer, with any of these runtimes", "its name (ssh:me@box:onnx)", SSH, *_of_any()),
        *(_phone(phone) for phone in found_phones()),
    ]


def choices_of(found: Found) -> dict[str, list[str]]:
    """Return the words that options of a listed device take, where there are some to choose from.

    ONNX Runtime is asked for the providers that are installed here.
    """
    if found.kind == KIND:
        return {"delegate": [*DELEGATES]}
    words = KINDS[found.kind].words if found.kind in KINDS else {}
    told = {option: [*known] for option, known in words.items() if known}
    if "provider" in words and found.in_reach:
        told["provider"] = installed_providers()
    return told


def _here(name: str, description: str, missing: str) -> Found:
    """Describe a runtime of this machine."""
    kind = KINDS[name]
    options, threads = (*kind.numbers, *kind.words), 1 if "threads" in kind.numbers else None
    cores = own_cores() if threads else None
    return Found(name, description, missing, name, (kind.format,), kind.precisions, options, threads, cores)


def _of_any() -> tuple[tuple[str, ...], tuple[Precision, ...]]:
    """Return the formats and the precisions of all runtimes on computers."""
    every = tuple(dict.fromkeys(precision for kind in KINDS.values() for precision in kind.precisions))
    return tuple(kind.format for kind in KINDS.values()), every


def _phone(phone: Phone) -> Found:
    """Describe a phone."""
    settings = phone.settings
    shown = (phone.name, phone.description, phone.missing, KIND, ("tflite",), PRECISIONS["tflite"], OPTIONS)
    return Found(*shown, settings.threads, settings.cores)
