"""Names for phones: the devices file, the built-in names, and their options."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amc_hw.devices.android.devices_file import PhoneSettings, read_address, read_devices_file
from amc_hw.devices.android.names import phone_settings
from amc_hw.devices.registry import open_device
from amc_hw.errors import UsageError

FILE = """\
[lab]
serial = "FA6AB0"
threads = 4
cores = "f0"
delegate = "gpu"
benchmark_model = "~/benchmark_model"

[desk]
address = "192.168.1.5:5555"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text(FILE)
    monkeypatch.setenv("AMC_HW_DEVICES", str(path))
    return path


def test_names(file: Path) -> None:
    assert phone_settings("lab") == PhoneSettings(
        serial="FA6AB0",
        threads=4,
        cores=(4, 5, 6, 7),
        delegate="gpu",
        benchmark_model=Path("~/benchmark_model").expanduser(),
    )
    assert phone_settings("desk:threads=2,cores=c") == PhoneSettings(
        address=("192.168.1.5", 5555), threads=2, cores=(2, 3)
    )
    assert phone_settings("pixel1").codenames == ("sailfish", "marlin")
    assert phone_settings("android:FA6AB0,delegate=nnapi") == PhoneSettings(serial="FA6AB0", delegate="nnapi")
    npu = PhoneSettings(serial="FA6AB0", delegate="npu", runtime="2.2.0")
    assert phone_settings("android:FA6AB0,delegate=npu,runtime=2.2.0") == npu
    assert phone_settings("lab:delegate=gpu,runtime=nightly").runtime == "nightly"
    assert phone_settings("android:10.0.0.1:5555").address == ("10.0.0.1", 5555)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[lab", "cannot read the devices file"),
        ("[lab]\n", "give its serial or its address"),
        ("[lab]\nserial = 'A'\nadress = 'x'\n", r"\[lab\] 'adress'; did you mean 'address'"),
        ("[lab]\nserial = 1\n", r'serial = 1 is wrong .*serial = "FA6AB0301234"'),
        ("[lab]\naddress = 'somewhere'\n", "not HOST:PORT"),
        ("[lab]\nserial = 'A'\nthreads = 0\n", "threads"),
        ("[lab]\nserial = 'A'\ncores = 'all'\n", "hexadecimal mask such as f0, not 'all'"),
        ("[lab]\nserial = 'A'\ndelegate = 'gpuu'\n", "did you mean 'gpu'"),
        ("[lab]\nserial = 'A'\nruntime = '2.x'\n", "runtime is tflite, litert, latest, nightly or a version"),
        ("[lab]\nserial = 'A'\ndelegate = 'npu'\nruntime = 'tflite'\n", "runtime=tflite has no delegate npu"),
        ("[lab]\nserial = 'A'\ndelegate = 'none'\nruntime = '2.2.0'\n", "runtime=2.2.0 has no delegate none"),
        ("lab = 1\n", r"\[lab\]"),
        ("['two words']\nserial = 'A'\n", "a name has letters"),
        ("[\"two\\nlines\"]\nserial = 'A'\n", r"\[two\\nlines\]: a name has letters"),
        ("[lab]\n\"two\\nlines\" = 'A'\n", r"\[lab\] 'two\\nlines'"),
    ],
)
def test_damaged_files(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_devices_file(file)


@pytest.mark.parametrize(
    "name",
    ["pixel1:thread=2", "pixel1:threads", "lab:OTHER", "pixel1:threads=many", "android:cores=", "pixle1", "lab2"],
)
def test_wrong_names(file: Path, name: str) -> None:
    with pytest.raises(UsageError):
        open_device(name)


@given(st.text())
def test_addresses_never_fail(text: str) -> None:
    read_address(text)
