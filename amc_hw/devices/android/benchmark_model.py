"""TensorFlow Lite's official benchmark_model: where its binary comes from, how it is called, what went wrong."""

from __future__ import annotations

import os
import shlex
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from amc_hw.devices.android.adb import Output
from amc_hw.devices.android.benchmark_log import BenchmarkLog, parse_log
from amc_hw.errors import DeviceError, UsageError, unknown_name
from amc_hw.runs.cache import cache_folder
from amc_hw.runs.files import write_bytes

VARIABLE = "AMC_HW_BENCHMARK_MODEL"
URL = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/{file}"
)
DOWNLOAD_STALL_S = 30.0
KILL_AFTER_S = 5

_FILES = {"arm64-v8a": "android_aarch64_benchmark_model", "armeabi-v7a": "android_arm_benchmark_model"}
_MACHINES = {"arm64-v8a": 0xB7, "armeabi-v7a": 0x28, "x86_64": 0x3E, "x86": 0x03}
"""The field e_machine of ELF files by Android's names of architectures."""

DELEGATES = {
    "xnnpack": ("--use_xnnpack=true",),
    "gpu": ("--use_gpu=true", "--use_xnnpack=false"),
    "nnapi": ("--use_nnapi=true", "--use_xnnpack=false"),
    "none": ("--use_xnnpack=false",),
}


class BenchmarkKilledError(DeviceError):
    """The benchmark was ended from outside; it may work the next time."""


def find_binary(abi: str, given: Path | None) -> Path:
    """Return the binary for an architecture: the one given, the one kept from an earlier download, or a new download.

    Args:
        abi: Android's name of the architecture, ``ro.product.cpu.abi``.
        given: a file that the user named; the environment variable AMC_HW_BENCHMARK_MODEL names one, too.

    Raises:
        UsageError: the file named does not exist.
        DeviceError: it is of another architecture, or cannot be downloaded.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        named = named.expanduser()
        if not named.is_file():
            raise UsageError(f"the benchmark_model {named} does not exist.")
        _require_architecture(named, abi)
        return named
    kept = cache_folder("benchmark_model") / abi / "benchmark_model"
    if not kept.exists():
        write_bytes(kept, _download(abi))
    _require_architecture(kept, abi)
    return kept


def _download(abi: str) -> bytes:
    cure = f"get one elsewhere and name it: {VARIABLE}=FILE, or benchmark_model = 'FILE' in the devices file"
    if abi not in _FILES:
        raise DeviceError(f"there is no official benchmark_model for {abi or 'this phone'}; {cure}.")
    url = URL.format(file=_FILES[abi])
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_STALL_S) as answer:
            content: bytes = answer.read()
    except (OSError, urllib.error.URLError) as error:
        raise DeviceError(f"cannot download {url} ({error}); {cure}.") from error
    if not content.startswith(b"\x7fELF"):
        raise DeviceError(f"{url} is no program; {cure}.")
    return content


def _require_architecture(file: Path, abi: str) -> None:
    with file.open("rb") as content:
        head = content.read(20)
    machine = int.from_bytes(head[18:20], "little")
    if head.startswith(b"\x7fELF") and machine != _MACHINES.get(abi, machine):
        raise DeviceError(f"{file} is not for this phone, which needs a benchmark_model for {abi}.")


def run_command(
    binary: str,
    model: str,
    *,
    warmup: int,
    runs: int,
    threads: int,
    delegate: str,
    mask: int | None,
    timeout_s: float,
    profile: str | None = None,
) -> str:
    """Return the shell command for exactly so many runs, held to cores and ended by the phone when it takes too long.

    Args:
        binary: benchmark_model on the phone.
        model: the TFLite file on the phone.
        warmup: runs that do not count.
        runs: runs that do.
        threads: of the runtime.
        delegate: a key of `DELEGATES`.
        mask: bit for each core that may be used, or None for all.
        timeout_s: the phone ends the run after so many seconds.
        profile: file on the phone for the time of every operator, or None.

    Raises:
        UsageError: an unknown delegate.
    """
    if delegate not in DELEGATES:
        raise unknown_name("delegate", delegate, DELEGATES)
    # Above zero seconds or below the runs, benchmark_model would make more or fewer runs than asked for.
    words = [binary, f"--graph={model}", f"--warmup_runs={warmup}", "--warmup_min_secs=0"]
    words += [f"--num_runs={runs}", "--min_secs=0", f"--max_secs={timeout_s:g}", f"--num_threads={threads}"]
    words += DELEGATES[delegate]
    if profile is not None:
        words += ["--enable_op_profiling=true", "--op_profiling_output_mode=proto"]
        words += [f"--op_profiling_output_file={profile}"]
    held = ["taskset", f"{mask:x}"] if mask is not None else []
    # A shell that stays keeps `timeout` alive when the connection breaks and adb hangs up on the shell.
    return shlex.join(["timeout", "-k", str(KILL_AFTER_S), f"{timeout_s:g}", *held, *words]) + "; exit $?"


def read_run(output: Output, profile: bytes | None, warmup: int, runs: int, timeout_s: float) -> BenchmarkLog:
    """Read a run of benchmark_model, strictly.

    Raises:
        BenchmarkKilledError: it was ended from outside.
        DeviceError: it could not be started, ran for too long, or did not do what was asked.
    """
    refuse_failed_start(output, timeout_s)
    return parse_log(output.stdout, stderr=output.stderr, profile=profile, warmup_runs=warmup, runs=runs)


def refuse_failed_start(output: Output, timeout_s: float) -> None:
    """Raise for every exit status that is not benchmark_model's own; see `read_run`."""
    said = _last_line(output.stderr) or _last_line(output.stdout)
    if output.status == 124:
        raise DeviceError(f"benchmark_model did not end within {timeout_s:g} s; is the network very slow?")
    # A program of another kind may reach the phone's shell, as a script. toybox's `timeout` may end with 127, too,
    # when a program ends at once.
    not_started = output.status in (126, 127) or "syntax error" in said.lower()
    if not_started and "INFO: " not in output.stdout:
        why = f" ({said})" if said else ""
        raise DeviceError(f"the phone cannot run this benchmark_model{why}; give one for its architecture.")
    if output.status >= 128:
        raise BenchmarkKilledError(
            f"benchmark_model was killed on the phone (signal {output.status - 128}), mostly for want of memory; close "
            "its apps, or try a smaller network."
        )
    if "taskset" in said:
        raise DeviceError(
            f"the phone refuses these cores ({said}); name some that it has, as a mask: cores=3 for the first two."
        )


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
