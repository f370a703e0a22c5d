"""A device that is known by its latency table alone: it can be predicted for, and nothing can be verified on it."""

from __future__ import annotations

from pathlib import Path

from amc_hw.devices.base import BusyError, Device, Kernel
from amc_hw.devices.registry import format_of, open_device, require_device_name
from amc_hw.errors import DeviceError, TableError, UsageError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.latency.read_table import load_table
from amc_hw.latency.shipped_tables import shipped_table
from amc_hw.latency.table import LatencyTable
from amc_hw.policy import PRECISIONS, Precision, precision_of
from amc_hw.runs.files import require_writable


class TableOnly(Device):
    """A device out of reach.

    Args:
        name: the device's name.
        path: its table.

    Raises:
        TableError: the table is damaged, or of a precision that no file is written in.
    """

    in_reach = False

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._table = load_table(path)
        runtime = self._table.fingerprint.runtime.split(" ")[0]
        self.format = {"onnxruntime": "onnx", "torch": "aten", "executorch": "pte"}.get(runtime, "tflite")
        self.precision = _written(self._table.fingerprint.dtype, self.format, name)

    def fingerprint(self) -> Fingerprint:
        """Tell what the table's measurements belong to."""
        return self._table.fingerprint

    def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
        """Refuse; see `Device.time_model`."""
        raise self._refusal()

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        """Refuse; see `Device.time_kernels`."""
        raise self._refusal()

    def close(self) -> None:
        """Do nothing: nothing was opened."""

    def known_table(self) -> LatencyTable:
        """See `Device.known_table`."""
        return self._table

    def require_reach(self) -> None:
        """Refuse; see `Device.require_reach`."""
        raise self._refusal()

    def _refusal(self) -> DeviceError:
        return DeviceError(f"'{self.name}' is known by its latency table only; connect the device to measure on it.")


def open_or_predict(name: str, table: Path | None = None, precision: Precision = "fp32") -> Device:
    """Open a device, or where it is not in reach the table of it.

    Args:
        name: the device's name.
        table: a table's file. It stands for a device out of reach if it is called like the device
            (``mypixel.json`` for ``mypixel``); another is refused. Without it, the shipped table of that name does.
        precision: of the files that it is measured with.

    Raises:
        UsageError: there is no device and no table of that name.
        BusyError: somebody else measures there; whether or not there is a table, it can be measured soon.
        DeviceError: the device cannot be used, and there is no table of it.
    """
    known = _standing_for(name, table)
    try:
        return open_device(name, precision)
    except BusyError:
        raise
    except (DeviceError, UsageError) as error:
        if table is not None and table != known:
            raise _no_stand_in(name, error) from error
        if known is None:
            raise
        return _stand_in(name, known, precision, error)


def require_device(name: str, table: Path | None = None, precision: Precision = "fp32") -> None:
    """Refuse what `open_or_predict` refuses, as far as that can be told without a look at the device.

    Raises:
        UsageError: there is no device and no table of that name, or an option or a precision that it does not have.
        TableError: the table is damaged, or of a precision that no file is written in.
        RunFolderError: it is not there yet and cannot be written.
    """
    if table is not None and table.exists():
        load_table(table)
    known = _standing_for(name, table)
    try:
        require_device_name(name, precision)
    except UsageError as error:
        if table is not None and table != known:
            raise _no_stand_in(name, error) from error
        if known is None:
            raise
        _stand_in(name, known, precision, error)
    if table is not None and not table.exists():
        require_writable(table)


def format_of_any(name: str) -> str:
    """Return the format of the files of a device, or of the shipped table of that name; nothing is opened.

    Raises:
        UsageError: there is no device and no table of that name.
    """
    try:
        return format_of(name)
    except UsageError:
        known = shipped_table(name)
        if known is None:
            raise
        return TableOnly(name, known).format


def _stand_in(name: str, known: Path, precision: Precision, error: Exception) -> TableOnly:
    """Return the table that stands for a device that cannot be used because of an error."""
    found = TableOnly(name, known)
    if found.precision != precision:
        raise UsageError(
            f"the table of '{name}' is of {found.precision}, not {precision}; add precision={found.precision}, or "
            "connect the device."
        ) from error
    return found


def _written(dtype: str, file_format: str, name: str) -> Precision:
    known = PRECISIONS[file_format]
    precision = precision_of(dtype)
    if precision not in known:
        raise TableError(
            f"the table of '{name}' is of {dtype}, in which no file is written here; make one of a network in one of "
            f"{', '.join(known)}: amc-hw table import LOG --model FILE.tflite"
        )
    return precision


def _standing_for(name: str, table: Path | None) -> Path | None:
    """Return the table that stands for a device out of reach, if there is one."""
    return table if table is not None and table.is_file() and table.stem == name else shipped_table(name)


def _no_stand_in(name: str, error: Exception) -> UsageError:
    reason = str(error).rstrip(".")
    return UsageError(f"{reason}; a table= that stands for it must exist and be called like it: {name}.json")
