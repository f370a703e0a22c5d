"""Whether a file can be what a device runs, or a log: told by its first bytes, before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from amc_hw.devices.android.benchmark_log import BenchmarkLogError, NoLogError, parse_log
from amc_hw.devices.android.log_text import decoded
from amc_hw.errors import UsageError
from amc_hw.formats.first_bytes import require_content


def require_files(files: Iterable[Path]) -> None:
    """Raise UsageError where one of the files does not exist, or is a folder."""
    for file in files:
        if not file.is_file():
            missing = f"{file} does not exist; check its path."
            raise UsageError(f"{file} is a folder; name the file." if file.is_dir() else missing)


def require_logs(files: Iterable[Path]) -> None:
    """Raise UsageError where a file is no output of benchmark_model; what else is wrong with a log is told later."""
    for file in files:
        try:
            parse_log(decoded(file.read_bytes()))
        except NoLogError as error:
            raise UsageError(f"{file}: {error}") from error
        except BenchmarkLogError:
            continue


def require_format(file: Path, form: str, device: str) -> None:
    """Refuse a file that a device does not run.

    Args:
        file: the file, which exists.
        form: the format that the device runs.
        device: its name.

    Raises:
        UsageError: the file has another ending, or begins as no file of its format does.
    """
    cure = f"make one with: amc-hw export --run RUN --format {form}"
    if file.suffix != f".{form}":
        raise UsageError(f"{file} is no .{form} file, which is what '{device}' runs; {cure}")
    require_content(file, cure)
