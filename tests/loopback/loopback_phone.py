"""A phone for the tests: a folder with an adb daemon on 127.0.0.1, and hands that heat it or pull its cable.

Needs Linux with user namespaces, mksh and toybox. Nothing outside the phone's folder is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROFILERS = [HERE.parents[1] / "profilers" / name for name in ("time_litert.py", "answering.py")]
MAX_LITTLE_KHZ, MAX_BIG_KHZ = 1593600, 2150400
PROPERTIES = {
    "ro.product.name": "loopback",
    "ro.product.model": "Loopback Phone",
    "ro.product.device": "loopback",
    "ro.product.manufacturer": "amc-hw tests",
    "ro.product.cpu.abi": "x86_64",
    "ro.board.platform": "msm8996",
    "ro.hardware": "loopback",
    "ro.soc.manufacturer": "Loopback",
    "ro.soc.model": "LB1",
    "ro.build.version.release": "10",
    "ro.build.version.sdk": "29",
    "ro.build.fingerprint": "loopback/loopback/loopback:10/TEST/1:user/release-keys",
    "ro.serialno": "LOOPBACK1",
}
STATE = {
    "battery/level": "80",
    "battery/temperature": "270",
    "battery/usb_powered": "true",
    "thermal/status": "0",
    "thermal/cpu": "35.0",
    "thermal/skin": "28.0",
    "wakefulness": "Awake",
    "settings/global/stay_on_while_plugged_in": "0",
    "settings/system/screen_off_timeout": "60000",
    "settings/system/screen_brightness_mode": "1",
}


TOOLS = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PYTHON = os.path.realpath(sys.executable)
# What the phone's Python and its benchmark need of this machine, seen on the phone under the same paths.
_SPECS = [spec for name in ("ai_edge_litert", "numpy") if (spec := find_spec(name))]
PACKAGES = sorted({str(Path(str(spec.origin)).parents[1]) for spec in _SPECS})
PYTHON_FOLDERS = [sys.base_prefix, *PACKAGES]


def why_not() -> str | None:
    """Say what this machine lacks for a loopback phone, or None."""
    if not find_spec("ai_edge_litert"):
        return "a loopback phone needs LiteRT: pip install ai-edge-litert"
    missing = [tool for tool in ("mksh", "toybox", "unshare", "pivot_root") if not shutil.which(tool, path=TOOLS)]
    if missing:
        return f"a loopback phone needs {', '.join(missing)}: apt-get install mksh toybox util-linux mount"
    probe = subprocess.run(["unshare", "-Urmpf", "mount", "-t", "proc", "proc", "/proc"], capture_output=True)
    if probe.returncode:
        return "a loopback phone needs user namespaces, which this machine does not allow"
    return None


class LoopbackPhone:
    """A running phone; use it in a `with` statement.

    Args:
        folder: an empty folder that becomes the phone.
        data_bytes: size of its /data; 0 for what the disk has. With a size, /data is not seen in `folder`.
        properties: what replaces some of `PROPERTIES`.
    """

    def __init__(self, folder: Path, *, data_bytes: int = 0, properties: dict[str, str] | None = None) -> None:
        self.folder = folder.resolve()
        self.data_bytes = data_bytes
        self.port = 0
        self._lock = threading.Lock()
        self._build(PROPERTIES | (properties or {}))

    @property
    def serial(self) -> str:
        """The phone's address, which is its serial number over TCP."""
        return f"127.0.0.1:{self.port}"

    @property
    def benchmark_model(self) -> Path:
        """The file to push: a stand-in for TFLite's benchmark_model, with real times."""
        return self.folder / "host" / "benchmark_model"

    @property
    def litert_benchmark_model(self) -> Path:
        """A stand-in for LiteRT's benchmark_model; its GPU and NPU are what `set_accelerator` says."""
        return self.folder / "host" / "litert_benchmark_model"

    def set_accelerator(self, name: str, left: str) -> None:
        """Give the phone a GPU ("gpu") or an NPU ("npu") that leaves these operators to the processor."""
        self.set_state(f"accelerator/{name}", left)

    def __enter__(self) -> LoopbackPhone:
        boot = ["sh", str(HERE / "boot.sh"), str(self.folder), str(self.data_bytes), PYTHON, *PYTHON_FOLDERS]
        self._daemon = subprocess.Popen(
            [
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--",
                *boot,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": TOOLS},
        )
        self.port = self._answer()["port"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._daemon.stdin
        self._daemon.stdin.close()  # the daemon ends, and all that runs on the phone with it
        try:
            self._daemon.wait(10)
        finally:
            self._daemon.kill()

    def ask(self, **wish: Any) -> dict[str, Any]:
        """Have the daemon do something (see adbd.py) and return its answer."""
        assert self._daemon.stdin
        with self._lock:
            self._daemon.stdin.write(json.dumps(wish) + "\n")
            self._daemon.stdin.flush()
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._daemon.stdout
        line = self._daemon.stdout.readline()
        assert line, "the phone's daemon has died"
        return json.loads(line)  # type: ignore[no-any-return]

    def run(self, command: str) -> str:
        """Run a command on the phone without adb and return what it printed."""
        return str(self.ask(run=command)["stdout"])

    def processes(self) -> list[str]:
        """Return the command lines of what runs on the phone, without the daemon and init."""
        lines = self.run("ps -A -o ARGS").splitlines()[1:]
        own = ("adbd.py", "boot.sh", "ps -A -o ARGS")
        return [line.strip() for line in lines if not any(name in line for name in own)]

    def cut_cable(
        self, service: str, *, after: int | None = None, seconds: float | None = None, away: float = 0
    ) -> None:
        """Break the connection once, and keep it so for `away` seconds.

        That happens when so many bytes have passed in a service ("sync:", "shell"), or it has lasted so long.
        """
        self.ask(drop={"service": service, "after": after, "seconds": seconds, "away": away})

    def set_state(self, name: str, value: str) -> None:
        """Change what a stand-in command tells (see `STATE`)."""
        self._write(f"state/{name}", value)

    def refuse(self, service: str) -> None:
        """Have `dumpsys SERVICE`, or `settings`, refuse to answer from now on."""
        self._write(f"state/refuse/{service}", "")

    def heat(self, status: int, celsius: float) -> None:
        """Set thermal status and temperatures; from status 3 (severe) on, the big cores are capped, too."""
        self.set_state("thermal/status", str(status))
        for name in ("cpu", "skin"):
            self.set_state(f"thermal/{name}", f"{celsius:.1f}")
        self.set_state("battery/temperature", f"{10 * celsius:.0f}")
        for cpu, maximum in enumerate(_max_khz()):
            cap = min(maximum, MAX_LITTLE_KHZ // 2) if status >= 3 else maximum
            self._write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_max_freq", str(cap))

    def _write(self, name: str, content: str) -> None:
        """Replace a file of the phone in one step."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_text(content + "\n")
        part.replace(file)

    def _build(self, properties: dict[str, str]) -> None:
        """Fill the folder: a system like Android's, a fake /sys and the stand-ins' state."""
        for name in ("data", "root", "state/prop", "state/settings/secure", "system/etc", "system/loopback"):
            (self.folder / name).mkdir(parents=True)
        self._write("system/build.prop", "\n".join(f"{name}={value}" for name, value in properties.items()))
        self._write("system/etc/passwd", "shell:x:2000:2000:shell:/:/bin/sh")
        self._write("system/etc/group", "shell:x:2000:")
        for name, value in STATE.items():
            self.set_state(name, value)
        self._build_bin()
        self._build_sys()
        for file in [*HERE.glob("*.py"), *PROFILERS]:
            shutil.copy(file, self.folder / "system" / "loopback")
        for name, knows in (("benchmark_model", "--use_nnapi"), ("litert_benchmark_model", "--dispatch_library_path")):
            lines = ["#!/system/bin/sh", f"# Stands in for {name} on the loopback phone; it knows {knows}."]
            lines += [f"export PYTHONHOME='{sys.base_prefix}' PYTHONPATH='{':'.join(PACKAGES)}'"]
            lines += [f'exec -a "$0" \'{PYTHON}\' /system/loopback/{name}.py "$@"']
            self._write(f"host/{name}", "\n".join(lines))

    def _build_bin(self) -> None:
        """Put mksh, toybox and the stand-ins into /system/bin."""
        binaries = self.folder / "system" / "bin"
        binaries.mkdir()
        for tool, name in (("mksh", "sh"), ("toybox", "toybox")):
            shutil.copy(os.path.realpath(str(shutil.which(tool, path=TOOLS))), binaries / name)
        applets = subprocess.run([binaries / "toybox"], capture_output=True, text=True, check=True).stdout.split()
        for applet in applets:
            (binaries / applet).symlink_to("toybox")
        for file in (HERE / "system_bin").iterdir():
            shutil.copy(file, binaries)

    def _build_sys(self) -> None:
        """Describe this machine's processors as a phone's: the first half little, the rest big."""
        cpus = Path("/sys/devices/system/cpu")
        for name in ("possible", "present", "online", "kernel_max"):
            self._write(f"sys/devices/system/cpu/{name}", (cpus / name).read_text().strip())
        for cpu, maximum in enumerate(_max_khz()):
            folder = f"sys/devices/system/cpu/cpu{cpu}"
            for file in (cpus / f"cpu{cpu}" / "topology").glob("*"):
                self._write(f"{folder}/topology/{file.name}", file.read_text().strip())
            frequencies = {"cpuinfo_min": 307200, "cpuinfo_max": maximum, "scaling_min": 307200}
            frequencies |= {"scaling_max": maximum, "scaling_cur": maximum}
            for name, khz in frequencies.items():
                self._write(f"{folder}/cpufreq/{name}_freq", str(khz))
            self._write(f"{folder}/cpufreq/scaling_governor", "schedutil")
        self._write("sys/class/thermal/thermal_zone0/type", "cpu0")
        self._write("sys/class/thermal/thermal_zone0/temp", "35000")


def _max_khz() -> list[int]:
    """Return the highest frequency of every processor."""
    count = os.cpu_count() or 1
    return [MAX_LITTLE_KHZ if cpu < count // 2 else MAX_BIG_KHZ for cpu in range(count)]


BENCHMARK_FLAGS = "--warmup_runs=5 --warmup_min_secs=0 --num_runs=20 --min_secs=0 --max_secs=100 --num_threads=1"


def benchmark_on(phone: LoopbackPhone, binary: Path, model: Path, name: str) -> Callable[..., dict[str, Any]]:
    """Put a benchmark_model and a network on a phone; return what runs it with more flags, without adb."""
    folder = phone.folder / "data/local/tmp"
    (folder / "benchmark_model").write_bytes(binary.read_bytes())
    (folder / "benchmark_model").chmod(0o755)
    (folder / name).write_bytes(model.read_bytes())
    command = f"cd /data/local/tmp; ./benchmark_model --graph='{name}' {BENCHMARK_FLAGS}"
    return lambda flags="": phone.ask(run=f"{command} {flags}")


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that happens soon; fail if it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def connected(adb: Any, phone: LoopbackPhone) -> str:
    """Connect Debian's adb to the phone and return its serial."""

    def is_online() -> bool:
        adb("disconnect", phone.serial)  # adb's own attempts to come back are many seconds apart
        adb("connect", phone.serial)
        return f"{phone.serial}\tdevice" in adb("devices").stdout

    wait_until(is_online)
    return phone.serial
