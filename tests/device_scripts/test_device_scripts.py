"""The scripts under the shell and the tools that phones have: mksh with nothing but toybox."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from amc_hw.devices.android.phone_state import read_state
from amc_hw.shipped import shipped

SCRIPTS = shipped("device_scripts")


@pytest.fixture
def phone_path(tmp_path: Path) -> str:
    """A PATH with toybox alone, and stand-ins for Android's own commands that refuse everything."""
    missing = [tool for tool in ("mksh", "toybox") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install mksh toybox")
    tools = tmp_path / "bin"
    tools.mkdir()
    toybox = str(shutil.which("toybox"))
    for name in subprocess.run([toybox], capture_output=True, text=True, check=True).stdout.split():
        (tools / name).symlink_to(toybox)
    (tools / "sh").symlink_to(str(shutil.which("mksh")))
    for name in ("dumpsys", "settings", "input"):
        (tools / name).write_text("#!/bin/sh\necho 'Permission Denial' >&2\nexit 255\n")
        (tools / name).chmod(0o755)
    return str(tools)


def run(path: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["mksh", str(SCRIPTS / script), *arguments]
    return subprocess.run(
        command, env={"PATH": f"{path}"}, executable=shutil.which("mksh"), capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda script: script.name)
def test_mksh_can_read_it(script: Path, phone_path: str) -> None:
    done = subprocess.run(["mksh", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_state_of_a_phone_that_tells_nothing(phone_path: str) -> None:
    done = run(phone_path, "state.sh")
    assert done.returncode == 0
    assert done.stderr == ""
    state = read_state(done.stdout)
    assert {"its thermal status", "the temperature of its battery"} <= set(state.refused)


def test_clean_ends_only_what_is_ours(phone_path: str, tmp_path: Path) -> None:
    folder = tmp_path / "amc hw"
    (folder / "models").mkdir(parents=True)
    ours = subprocess.Popen([shutil.which("sleep") or "sleep", "98"], executable="/bin/sleep")
    named = subprocess.Popen(["sh", "-c", "sleep 97; :", f"{folder}/benchmark_model"], start_new_session=True)
    try:
        time.sleep(0.2)
        assert run(phone_path, "clean.sh", str(folder)).returncode == 0
        assert named.wait(5) == -9
        assert ours.poll() is None
        assert not (folder / "models").exists()
    finally:
        ours.kill()
        ours.wait()
        named.kill()
        os.killpg(named.pid, 9)


def test_guard_cleans_up_when_it_is_let_go(phone_path: str, tmp_path: Path) -> None:
    folder = tmp_path / "amc-hw"
    folder.mkdir()
    guard = subprocess.Popen(
        ["sh", str(SCRIPTS / "guard.sh"), str(folder), "token"],
        executable=shutil.which("mksh"),
        env={"PATH": phone_path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert guard.stdout
    assert guard.stdin
    assert guard.stdout.readline() == "ready\n"
    assert (folder / "session").read_text() == "token\n"
    assert (folder / "models").is_dir()
    guard.stdin.close()
    guard.wait(10)
    guard.stdout.close()
    assert not (folder / "session").exists()
    assert not (folder / "models").exists()


def test_a_guard_that_was_replaced_touches_nothing(phone_path: str, tmp_path: Path) -> None:
    folder = tmp_path / "amc-hw"
    folder.mkdir()
    guard = subprocess.Popen(
        ["sh", str(SCRIPTS / "guard.sh"), str(folder), "old"],
        executable=shutil.which("mksh"),
        env={"PATH": phone_path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert guard.stdout
    assert guard.stdin
    assert guard.stdout.readline() == "ready\n"
    (folder / "session").write_text("new\n")
    guard.terminate()
    guard.wait(10)
    guard.stdin.close()
    guard.stdout.close()
    assert (folder / "session").read_text() == "new\n"
    assert (folder / "models").is_dir()
