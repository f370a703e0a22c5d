"""TensorFlow Lite's official benchmark_model: where its binary comes from, how it is called, what went wrong."""

from __future__ import annotations

import http.client
import os
import shlex
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
CURE = f"get one elsewhere and name it: {VARIABLE}=FILE, or benchmark_model = 'FILE' in the devices file"
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


def named_binary(abi: str, given: Path | None) -> Path | None:
    """Return the binary that the user named: ``given``, else by the environment variable AMC_HW_BENCHMARK_MODEL.

    Raises:
        UsageError: the file does not exist.
        DeviceError: it is of another architecture.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        return None
    named = named.expanduser()
    if not named.is_file():
        raise UsageError(f"the benchmark_model {named} does not exist.")
    require_architecture(named, abi)
    return named


def find_binary(abi: str) -> Path:
    """Return TensorFlow Lite's nightly for an architecture: the one kept from an earlier download, or a new one.

    Args:
        abi: Android's name of the architecture, ``ro.product.cpu.abi``.

    Raises:
        DeviceError: there is none, or it cannot be downloaded.
    """
    kept = cache_folder("benchmark_model") / abi / "benchmark_model"
    if not kept.exists():
        if abi not in _FILES:
            raise DeviceError(f"there is no official benchmark_model for {abi or 'this phone'}; {CURE}.")
        write_bytes(kept, download(URL.format(file=_FILES[abi]), CURE))
    require_architecture(kept, abi)
    return kept


def download(url: str, cure: str) -> bytes:
    """Return a program or a library, whole.

    Args:
        url: where it is.
        cure: what else can be done, for the end of an error's sentence.

    Raises:
        DeviceError: it cannot be had, or it is something else.
    """
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_STALL_S) as answer:
            content: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise DeviceError(f"cannot download {url} ({error}); {cure}.") from error
    if not content.startswith(b"\x7fELF"):
        raise DeviceError(f"{url} is no program; {cure}.")
    if _end_of_sections(content) > len(content):
        raise DeviceError(f"{url} did not arrive whole; run this again, or {cure}.")
    return content


def _end_of_sections(content: bytes) -> int:
    """Return where the table of sections ends, the last part of 64-bit ELF files as linkers write them."""
    size, number = (int.from_bytes(content[at : at + 2], "little") for at in (58, 60))
    return int.from_bytes(content[40:48], "little") + size * number if content[4:5] == b"\2" else 0


def require_architecture(file: Path, abi: str) -> None:
    """Raise DeviceError where a program or library is for another architecture than a phone's."""
    with file.open("rb") as content:
        head = content.read(20)
    machine = int.from_bytes(head[18:20], "little")
    if head.startswith(b"\x7fELF") and machine != _MACHINES.get(abi, machine):
        raise DeviceError(f"{file} is not for this phone, which needs a benchmark_model for {abi}.")


def tflite_flags(delegate: str, profile: str | None = None) -> tuple[str, ...]:
    """Return the flags of TensorFlow Lite's benchmark_model.

    Args:
        delegate: a key of `DELEGATES`.
        profile: file on the phone for the time of every operator, or None.

    Raises:
        UsageError: an unknown delegate.
    """
    if delegate not in DELEGATES:
        raise unknown_name("delegate", delegate, DELEGATES)
    if profile is None:
        return DELEGATES[delegate]
    profiled = ("--enable_op_profiling=true", "--op_profiling_output_mode=proto")
    return (*DELEGATES[delegate], *profiled, f"--op_profiling_output_file={profile}")


def run_command(
    binary: str,
    model: str,
    flags: Sequence[str],
    *,
    warmup: int,
    runs: int,
    threads: int,
    mask: int | None,
    timeout_s: float,
    environment: Sequence[str] = (),
) -> str:
    """Return the shell command for exactly so many runs, held to cores and ended by the phone when it takes too long.

    Args:
        binary: benchmark_model on the phone.
        model: the TFLite file on the phone.
        flags: what else it is told, for example `tflite_flags`.
        warmup: runs that do not count.
        runs: runs that do.
        threads: of the runtime.
        mask: bit for each core that may be used, or None for all.
        timeout_s: the phone ends the run after so many seconds.
        environment: variables of its own, as ``NAME=VALUE``.
    """
    # Above zero seconds or below the runs, benchmark_model would make more or fewer runs than asked for.
    words = [binary, f"--graph={model}", f"--warmup_runs={warmup}", "--warmup_min_secs=0"]
    words += [f"--num_runs={runs}", "--min_secs=0", f"--max_secs={timeout_s:g}", f"--num_threads={threads}", *flags]
    held = ["taskset", f"{mask:x}"] if mask is not None else []
    variables = ["env", *environment] if environment else []
    # A shell that stays keeps `timeout` alive when the connection breaks and adb hangs up on the shell.
    limited = ["timeout", "-k", str(KILL_AFTER_S), f"{timeout_s:g}"]
    return shlex.join([*limited, *held, *variables, *words]) + "; exit $?"


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
