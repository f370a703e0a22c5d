"""The user's devices file: names for phones, with how each is reached and measured; a few names are built in."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amc_hw.devices.android import litert
from amc_hw.devices.android.benchmark_model import DELEGATES as TFLITE_DELEGATES
from amc_hw.errors import UsageError, path_of, unknown_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VARIABLE = "AMC_HW_DEVICES"
OPTIONS = ("threads", "cores", "delegate", "runtime")
"""What may stand behind a device's name."""
DELEGATES = tuple(dict.fromkeys((*TFLITE_DELEGATES, *litert.DELEGATES)))
TFLITE, LITERT = "tflite", "litert"
"""TensorFlow Lite's unversioned benchmark_model, and LiteRT's of the version that is installed here."""
MOST_THREADS = 16

KNOWN_PHONES = {
    "pixel1": ("Google Pixel or Pixel XL (2016)", ("sailfish", "marlin")),
    "pixel2": ("Google Pixel 2 or 2 XL", ("walleye", "taimen")),
    "pixel3": ("Google Pixel 3 or 3 XL", ("blueline", "crosshatch")),
    "pixel4": ("Google Pixel 4 or 4 XL", ("flame", "coral")),
    "pixel6": ("Google Pixel 6 or 6 Pro", ("oriole", "raven")),
    "pixel8": ("Google Pixel 8 or 8 Pro", ("shiba", "husky")),
}
"""Name -> (what it is, Android's names of the device, ``ro.product.device``)."""


@dataclass(frozen=True)
class PhoneSettings:
    """Which phone, and how it is measured.

    Attributes:
        serial: as ``adb devices`` shows it, or None.
        address: (host, port) of a phone that is reached by TCP, or None.
        codenames: names of the device in Android, one of which it must have; empty for any.
        threads: of the runtime.
        cores: numbers of the cores to use, or None for the big ones.
        delegate: ``xnnpack``, ``gpu``, ``npu``, ``nnapi`` or ``none``.
        runtime: whose benchmark_model: ``tflite``, ``litert``, or a version of LiteRT; "" for LiteRT's, and TensorFlow
            Lite's where that is not to be had.
        benchmark_model: the binary, or None for the usual one.
        npu_libraries: folder with the runtime of the NPU's maker, or None.
    """

    serial: str | None = None
    address: tuple[str, int] | None = None
    codenames: tuple[str, ...] = ()
    threads: int = 1
    cores: tuple[int, ...] | None = None
    delegate: str = "xnnpack"
    runtime: str = ""
    benchmark_model: Path | None = None
    npu_libraries: Path | None = None


class _Entry(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["android"] = "android"
    serial: str | None = None
    address: str | None = None
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] = 1
    cores: str = "big"
    delegate: str = "xnnpack"
    runtime: str = ""
    benchmark_model: str | None = None
    npu_libraries: str | None = None


_EXAMPLES = {"threads": "threads = 2", "serial": 'serial = "FA6AB0301234"', "address": 'address = "10.0.0.7:5555"'}


def devices_file() -> Path:
    """Return where the devices file is, or would be: AMC_HW_DEVICES, or ~/.config/amc-hw/devices.toml."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "amc-hw" / "devices.toml"


def named_phones() -> dict[str, PhoneSettings]:
    """Return every name that stands for a phone: the built-in ones and those of the devices file.

    Raises:
        UsageError: the file is damaged, or has an unknown setting; the message names it.
    """
    phones = {name: PhoneSettings(codenames=codenames) for name, (_, codenames) in KNOWN_PHONES.items()}
    return phones | read_devices_file(devices_file())


def read_devices_file(path: Path) -> dict[str, PhoneSettings]:
    """Read a devices file; one that does not exist names nothing. See `named_phones` for errors."""
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        if os.environ.get(VARIABLE):
            raise UsageError(f"the devices file {path}, which {VARIABLE} names, does not exist.") from error
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the devices file {path}: {error}.") from error
    return {name: _phone(path, name, table) for name, table in document.items()}


def _phone(path: Path, name: str, table: Any) -> PhoneSettings:
    where = f"the devices file {path}, [{path_of([name])}]"
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UsageError(f"{where}: a name has letters, digits, '-', '_' and '.' only.")
    try:
        entry = _Entry.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(_Entry.model_fields)
        if not first["loc"]:
            raise UsageError(f"{where} is no table; write [{name}] and below it settings: {known}.") from error
        setting = path_of(first["loc"])
        if setting not in _Entry.model_fields:
            raise unknown_name(f"setting of {where}", setting, _Entry.model_fields) from error
        raise UsageError(
            f"{where}: {setting} = {first['input']!r} is wrong ({first['msg'].lower()}); write for example "
            f"{_EXAMPLES.get(setting, setting + ' = ' + repr('...'))}."
        ) from error
    if (entry.serial is None) == (entry.address is None):
        raise UsageError(f"{where}: give its serial or its address (HOST:PORT).")
    address = read_address(entry.address) if entry.address is not None else None
    if entry.address is not None and address is None:
        raise UsageError(f"{where}: the address '{entry.address}' is not HOST:PORT.")
    settings = PhoneSettings(
        serial=entry.serial,
        address=address,
        threads=entry.threads,
        benchmark_model=_path(entry.benchmark_model),
        npu_libraries=_path(entry.npu_libraries),
    )
    runtime = {"runtime": entry.runtime} if entry.runtime else {}
    return with_options(settings, {"cores": entry.cores, "delegate": entry.delegate, **runtime}, where)


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def read_address(text: str) -> tuple[str, int] | None:
    """Read ``HOST:PORT``, or return None."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 1 << 16):
        return None
    return host.strip("[]"), int(port)


def with_options(settings: PhoneSettings, options: dict[str, str], where: str) -> PhoneSettings:
    """Change settings by the options of a device's name: ``threads=4``, ``cores=f0``, ``delegate=gpu``.

    Raises:
        UsageError: an unknown option or an impossible value.
    """
    for key, value in options.items():
        if key == "threads":
            if not (value.isdecimal() and 1 <= int(value) <= MOST_THREADS):
                raise UsageError(f"{where}: threads is a whole number from 1 to {MOST_THREADS}, not '{value}'.")
            settings = replace(settings, threads=int(value))
        elif key == "cores":
            settings = replace(settings, cores=_cores(value, where))
        elif key == "delegate":
            if value not in DELEGATES:
                raise unknown_name("delegate", value, DELEGATES)
            settings = replace(settings, delegate=value)
        elif key == "runtime":
            settings = replace(settings, runtime=_runtime(value, where))
        else:
            raise unknown_name(f"option of {where}", key, OPTIONS)
    known = TFLITE_DELEGATES if settings.runtime == TFLITE else litert.DELEGATES
    if settings.runtime and settings.delegate not in known:
        raise UsageError(
            f"{where}: runtime={settings.runtime} has no delegate {settings.delegate}, only {', '.join(known)}; "
            "leave runtime= out, or choose another delegate."
        )
    return settings


def _runtime(text: str, where: str) -> str:
    """Read ``tflite``, ``litert``, ``nightly``, ``latest`` or a version of LiteRT."""
    if text not in (TFLITE, LITERT, *litert.CHANNELS) and not litert.VERSION.fullmatch(text):
        raise UsageError(
            f"{where}: runtime is {TFLITE}, {LITERT}, {', '.join(litert.CHANNELS)} or a version of LiteRT such as "
            f"2.2.0, not '{text}'."
        )
    return text


def _cores(text: str, where: str) -> tuple[int, ...] | None:
    """Read ``big``, or a mask of cores in hexadecimal as taskset takes it."""
    if text == "big":
        return None
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{1,16}", text) or not int(text, 16):
        raise UsageError(f"{where}: cores is 'big' or a hexadecimal mask such as f0, not '{text}'.")
    mask = int(text, 16)
    return tuple(core for core in range(mask.bit_length()) if mask >> core & 1)
