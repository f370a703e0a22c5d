"""A phone as a device: TensorFlow Lite's benchmark_model, over adb, on a phone that is cool and not held back."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from amc_hw.devices.android.adb import Adb, Output, Waits
from amc_hw.devices.android.benchmark_log import BenchmarkLog, BenchmarkLogError
from amc_hw.devices.android.benchmark_model import BenchmarkKilledError, read_run, run_command
from amc_hw.devices.android.devices_file import PhoneSettings
from amc_hw.devices.android.fallback import require_accelerated
from amc_hw.devices.android.litert import ACCELERATORS, look_flags
from amc_hw.devices.android.log_claims import refuse_hidden, refuse_joined
from amc_hw.devices.android.npu import npu_environment
from amc_hw.devices.android.phone_properties import read_properties
from amc_hw.devices.android.phone_state import PhoneState, big_cores, read_state
from amc_hw.devices.android.runtimes import Runtime, find_runtime
from amc_hw.devices.android.session import FOLDER, AndroidSession, Traffic
from amc_hw.devices.base import BusyError, Device, Kernel, NotConnectedError, Times
from amc_hw.devices.effort import Effort
from amc_hw.errors import DeviceError, UsageError
from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.policy import DTYPES
from amc_hw.runs.file_lock import HELD_HERE, FileLock

_LOG = logging.getLogger(__name__)

TRIES = 3
"""Times that a measurement is begun again because the phone got hot or the benchmark was killed."""

GRACE_S = 30.0
"""How much longer than the phone itself we wait for a run to end."""

OLDEST_SDK = 24
"""Android 7: the first whose adb tells a command's exit status."""

TELLING = frozenset({"xnnpack", "none"})
"""Delegates that tell the time of every operator."""


class AndroidDevice(Device):
    """A phone.

    Args:
        name: as the user wrote it.
        adb: the way to it.
        settings: how to measure.
        waits: the longest waits.
        sleep: waits; tests bring their own.

    Raises:
        NotConnectedError: it is another phone than the name promises.
        BusyError: another amc-hw measures there.
        DeviceError: its Android is too old.
    """

    format = "tflite"
    effort = Effort(
        networks=24,
        warmup=2,
        runs=30,
        samples=1,
        calibration=12,
        visits=1,
        visit_warmup=10,
        visit_runs=40,
        total_visits=1,
    )
    """The whole table of a network in 24 + 12 starts of benchmark_model; docs/devices.md has the arithmetic."""

    def __init__(
        self,
        name: str,
        adb: Adb,
        settings: PhoneSettings,
        waits: Waits,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._notes: list[str] = []
        self._settings = settings
        self._waits = waits
        self._sleep = sleep
        self._properties = read_properties(adb, waits.command_s)
        if settings.codenames and self._properties["codename"] not in settings.codenames:
            raise NotConnectedError(
                f"the phone {adb.serial} is a {self._properties['model'] or 'phone of another kind'}, not a {name}; "
                f"name it: device=android:{adb.serial}"
            )
        sdk = self._properties["sdk"]
        if sdk.isdecimal() and int(sdk) < OLDEST_SDK:
            raise DeviceError(
                f"the phone {adb.serial} has Android {self._properties['android']}; 7 or later is needed."
            )
        serial = self._properties["serial"] or adb.serial
        self._lock = FileLock(serial)
        if not self._lock.take():
            here = serial in HELD_HERE
            raise BusyError(f"another amc-hw is measuring on the phone {serial}; wait until it is done.", here=here)
        self._session = AndroidSession(adb, waits, sleep)
        self.operator_times = settings.delegate in TELLING
        self._cores: tuple[int, ...] | None = settings.cores
        self._found: Runtime | None = None

    @property
    def traffic(self) -> Traffic:
        """What this session has cost the phone so far."""
        return self._session.traffic

    def fingerprint(self) -> Fingerprint:
        """Tell what the measurements of this phone belong to."""
        known = self._properties
        cores = self._measured_cores()
        return Fingerprint(
            device=" ".join(filter(None, (known["manufacturer"], known["model"]))) or "unknown phone",
            processor=known["soc"] or known["board"] or known["hardware"] or "unknown",
            system=f"Android {known['android']} ({known['build']})",
            runtime=self._runtime().name,
            runtime_version=self._runtime().full_version(),
            threads=self._settings.threads,
            cores=",".join(map(str, cores)) or "any",
            delegate=self._settings.delegate,
            dtype=DTYPES[self.precision],
        )

    def time_model(self, file: Path, *, warmup: int, runs: int) -> Times:
        """Return the mean of the runs alone, which is all that benchmark_model tells of them, and its log."""
        log, output = self._measure(file, warmup, runs, with_kernels=False)
        statistics = {name: float(value) for name, value in asdict(log.regular).items() if value is not None}
        return Times([log.regular.avg_us], statistics, output.stdout + output.stderr)

    def time_kernels(self, file: Path, *, warmup: int, runs: int) -> list[Kernel]:
        """See `Device.time_kernels`; a kernel's one sample is its mean over the runs."""
        log, _ = self._measure(file, warmup, runs, with_kernels=True)
        refuse_hidden(log.operators, file.name)
        refuse_joined(log.operators, file.name)
        if not log.operators:
            raise DeviceError(f"benchmark_model reported no kernels of {file.name}.")
        return [Kernel(operator.type, (operator.avg_us,)) for operator in log.operators]

    def clean(self) -> None:
        """Remove everything that amc-hw ever put on the phone."""
        self._session.remove_folder()

    def close(self) -> None:
        """Leave the phone as it was found."""
        try:
            self._session.close()
        finally:
            self._lock.release()

    def _measure(self, file: Path, warmup: int, runs: int, *, with_kernels: bool) -> tuple[BenchmarkLog, Output]:
        """Run a file while the phone is cool from beginning to end; begin again where it was not."""
        cores = self._measured_cores()
        trouble = ""
        for tried in range(1, TRIES + 1):
            self._wait_until_cool(cores)
            output, profile = self._session.recovering(lambda: self._run(file, warmup, runs, cores, with_kernels))
            self._require_accelerated(file, output)
            try:
                log = read_run(output, profile, warmup, runs, self._waits.run_s)
            except (BenchmarkKilledError, BenchmarkLogError) as error:
                if tried > 1:
                    raise type(error)(f"{file}: {error}") from error
                continue  # once may be chance: low memory, a full pipe
            trouble = self._state().trouble(cores)
            if not trouble:
                return log, output
        raise DeviceError(
            f"the phone {self.name} got too hot in {TRIES} measurements of {file.name} ({trouble}); cool it with a "
            "fan, take its case off and run the same command again: what was measured is kept."
        )

    def _run(
        self, file: Path, warmup: int, runs: int, cores: tuple[int, ...], with_kernels: bool
    ) -> tuple[Output, bytes | None]:
        session, runtime = self._session, self._runtime()
        profile = f"{FOLDER}/models/profile.pb" if with_kernels else None
        libraries = self._placed_libraries(runtime)
        flags = runtime.flags(self._settings.delegate, profile, libraries)
        command = self._command(file, flags, libraries, warmup=warmup, runs=runs, cores=cores)
        if profile is not None:
            command = f"rm -f {shlex.quote(profile)}; {command}"
        session.traffic.starts += 1
        output = session.run(command, self._waits.run_s + GRACE_S)
        if profile is None or output.status or runtime.litert:  # whose program prints its profile
            return output, None
        return output, session.adb.pull(profile)

    def _command(
        self, file: Path, flags: Sequence[str], libraries: str, *, warmup: int, runs: int, cores: tuple[int, ...]
    ) -> str:
        """Have everything on the phone and return the command that runs it."""
        runtime = self._runtime()
        program = self._session.place(runtime.file, f"benchmark_model-{runtime.digest[:20]}", executable=True)
        return run_command(
            program,
            self._session.place_model(file),
            flags,
            warmup=warmup,
            runs=runs,
            threads=self._settings.threads,
            mask=sum(1 << core for core in cores) or None,
            timeout_s=self._waits.run_s,
            environment=npu_environment(libraries) if libraries else (),
        )

    def _placed_libraries(self, runtime: Runtime) -> str:
        """Have the NPU's libraries on the phone and return their folder; "" where there are none."""
        if not runtime.libraries:
            return ""
        folder = f"npu-{runtime.libraries_digest[:20]}"
        for library in runtime.libraries:
            self._session.place(library, f"{folder}/{library.name}")
        return f"{FOLDER}/{folder}"

    def _require_accelerated(self, file: Path, output: Output) -> None:
        """Refuse a run of LiteRT that left operators to the processor, and note what ran where."""
        accelerator = self._settings.delegate
        if accelerator not in ACCELERATORS or not self._runtime().litert:
            return
        placement = require_accelerated(
            output, accelerator, file, lambda: self._session.recovering(lambda: self._look(file))
        )
        note = f"the {accelerator} ran all {placement.total} operators"
        if placement.is_whole and not any(known.startswith(f"the {accelerator} ran") for known in self._notes):
            self._notes.append(note)

    def _look(self, file: Path) -> bytes | None:
        """Ask what of a network would run where; None where the program does not tell."""
        info, libraries = f"{FOLDER}/models/placement.pb", self._placed_libraries(self._runtime())
        flags = look_flags(self._settings.delegate, info, libraries)
        self._session.run(f"rm -f {shlex.quote(info)}")
        command = self._command(file, flags, libraries, warmup=0, runs=0, cores=())
        self._session.run(command, self._waits.run_s + GRACE_S)
        written = self._session.run(f"[ -s {shlex.quote(info)} ]").status == 0
        return self._session.adb.pull(info) if written else None

    def _runtime(self) -> Runtime:
        """Return the benchmark_model for this phone."""
        if self._found is None:
            self._found = find_runtime(self._properties, self._settings)
        return self._found

    def notes(self) -> list[str]:
        """See `Device.notes`."""
        return self._notes

    def _measured_cores(self) -> tuple[int, ...]:
        """Return the cores to use, empty for any; the phone's fastest where nobody named some."""
        if self._cores is None:
            state = self._state()
            self._cores = big_cores(state.maximum_khz, self._settings.threads)
            self._notes += [f"the phone does not tell {what}" for what in state.refused]
        if self._cores and self._settings.threads > len(self._cores):
            raise UsageError(
                f"{self._settings.threads} threads need as many cores, and {len(self._cores)} are used "
                f"({', '.join(map(str, self._cores))}); give fewer threads, or name more cores as a mask: cores=ff."
            )
        return self._cores

    def _state(self) -> PhoneState:
        output = self._session.recovering(lambda: self._session.script("state.sh"))
        return read_state(output.stdout)

    def _wait_until_cool(self, cores: tuple[int, ...]) -> None:
        """Wait while the phone is hot or held back; raise DeviceError with the reason when that takes too long."""
        deadline, reported = time.monotonic() + self._waits.cool_s, ""
        while trouble := self._state().trouble(cores):
            if trouble != reported:
                _LOG.warning("the phone %s has to wait (%g s at most): %s", self.name, self._waits.cool_s, trouble)
                reported = trouble
            if time.monotonic() > deadline:
                raise DeviceError(
                    f"the phone {self.name} did not become ready within {self._waits.cool_s:g} s: {trouble}; let it "
                    "cool, turn battery saver off and run the same command again: what was measured is kept."
                )
            self._sleep(self._waits.cool_poll_s)
