"""Which benchmark_model measures, and the files that it needs: found, downloaded once, checked, or named by a cure."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from amc_hw.devices.android import benchmark_model, litert, npu
from amc_hw.devices.android.devices_file import PhoneSettings
from amc_hw.devices.android.runtimes import Runtime, find_runtime
from amc_hw.errors import DeviceError, UsageError

PHONE = {"abi": "arm64-v8a", "maker": "QTI", "soc": "SM8650", "board": "pineapple", "hardware": "qcom"}
ELF = b"\x7fELF\2\1\1".ljust(18, b"\0") + b"\xb7\0" + bytes(44)
LITERT = ELF + b"--dispatch_library_path"
NIGHTLY = "android_aarch64_benchmark_model"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for Google's storage, empty at first; LiteRT 2.3.0 is installed here."""
    folder = tmp_path / "storage"
    (folder / "2.3.0").mkdir(parents=True)
    monkeypatch.setattr(litert, "URL", folder.as_uri() + "/{version}/{file}")
    monkeypatch.setattr(benchmark_model, "URL", folder.as_uri() + "/{file}")
    monkeypatch.setattr(litert, "installed_version", lambda: "2.3.0")
    monkeypatch.delenv(npu.VARIABLE, raising=False)
    return folder


def found(**settings: object) -> Runtime:
    return find_runtime(PHONE, PhoneSettings(**settings))  # type: ignore[arg-type]


def test_litert_of_the_installed_version_is_downloaded_once(server: Path) -> None:
    (server / "2.3.0" / "benchmark_model").write_bytes(LITERT)
    runtime = found()
    (server / "2.3.0" / "benchmark_model").unlink()
    assert found() == runtime
    assert (runtime.litert, runtime.version, runtime.file.read_bytes()) == (True, "2.3.0", LITERT)
    assert runtime.name == "litert benchmark_model"
    assert runtime.full_version() == f"2.3.0 sha256:{runtime.digest}"


def test_the_nightly_takes_its_place_in_a_table_of_its_own(server: Path, caplog: pytest.LogCaptureFixture) -> None:
    (server / NIGHTLY).write_bytes(ELF)
    with caplog.at_level(logging.WARNING):
        runtime = found()
    assert (runtime.litert, runtime.name) == (False, "benchmark_model")
    assert runtime.full_version() == f"sha256:{runtime.digest}"
    assert "TensorFlow Lite's nightly, in a table of its own" in caplog.text
    assert "put the file there by hand" in caplog.text
    assert found(delegate="none") == found(runtime="tflite") == runtime


def test_without_a_network_the_error_says_where_to_put_the_file(server: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"put the file there by hand: (.+), or name .*AMC_HW_BENCHMARK_MODEL=FILE"
    ) as error:
        found()
    place = Path(str(error.value).split("by hand: ")[1].split(", or name")[0])
    place.parent.mkdir(parents=True)
    place.write_bytes(LITERT)
    assert found().file == place


@pytest.mark.parametrize("named", [{"runtime": "2.2.0"}, {"runtime": "litert"}, {"delegate": "npu"}])
def test_what_is_named_has_no_substitute(server: Path, named: dict[str, str]) -> None:
    (server / NIGHTLY).write_bytes(ELF)
    with pytest.raises(DeviceError, match=r"cannot download .*put the file there by hand"):
        found(**named)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>no such file</html>", "is no program"),
        (ELF, "knows no accelerators"),
        (LITERT[:18] + b"\x3e" + LITERT[19:], "is not for this phone"),
        (LITERT[:40] + (5000).to_bytes(8, "little") + LITERT[48:], "did not arrive whole; run this again"),
    ],
)
def test_what_is_downloaded_is_checked(server: Path, content: bytes, message: str) -> None:
    (server / "2.3.0" / "benchmark_model").write_bytes(content)
    with pytest.raises(DeviceError, match=message):
        found(runtime="litert")


def test_a_named_binary_is_known_by_its_flags(server: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "litert", tmp_path / "tflite"
    ours.write_bytes(LITERT)
    theirs.write_bytes(ELF)
    assert found(benchmark_model=ours, runtime="2.2.0").full_version().startswith("2.2.0 sha256:")
    assert found(benchmark_model=ours).full_version().startswith("sha256:")
    assert not found(benchmark_model=theirs, delegate="nnapi").litert
    with pytest.raises(UsageError, match="is LiteRT's benchmark_model, which has no delegate nnapi"):
        found(benchmark_model=ours, delegate="nnapi")
    with pytest.raises(UsageError, match=r"is TensorFlow Lite's benchmark_model, not one of runtime=2\.2\.0"):
        found(benchmark_model=theirs, runtime="2.2.0")


def test_an_npu_gets_plug_ins_and_the_runtime_of_its_maker(server: Path, tmp_path: Path) -> None:
    plugins = [name.format(maker="Qualcomm") for name in npu.PLUGINS]
    for name in ("benchmark_model", *plugins):
        (server / "2.3.0" / name).write_bytes(LITERT)
    maker = tmp_path / "qairt"
    with pytest.raises(UsageError, match=r"does not exist, or has no file .*AMC_HW_NPU_LIBRARIES=DIR"):
        found(delegate="npu", npu_libraries=maker)
    maker.mkdir()
    (maker / "libQnnHtp.so").write_bytes(ELF)
    runtime = found(delegate="npu", npu_libraries=maker)
    assert [file.name for file in runtime.libraries] == sorted([*plugins, "libQnnHtp.so"])
    other = found(delegate="npu")
    assert other.full_version() != runtime.full_version()
    flags = runtime.flags("npu", None, "/d/npu")
    assert {"--use_npu=true", "--use_cpu=false", "--require_full_delegation=true"} < set(flags)
    assert {"--dispatch_library_path=/d/npu", "--compiler_plugin_library_path=/d/npu"} < set(flags)


def test_an_unknown_npu_has_plug_ins_only_by_hand(server: Path, tmp_path: Path) -> None:
    (server / "2.3.0" / "benchmark_model").write_bytes(LITERT)
    pixel = {"abi": "arm64-v8a", "maker": "Google", "soc": "Tensor G5", "board": "laguna", "hardware": "frankel"}
    with pytest.raises(DeviceError, match=r"no plug-ins for the NPU of this phone \(Tensor G5\)"):
        find_runtime(pixel, PhoneSettings(delegate="npu"))
    (tmp_path / "libLiteRtDispatch_GoogleTensor.so").write_bytes(ELF)
    runtime = find_runtime(pixel, PhoneSettings(delegate="npu", npu_libraries=tmp_path))
    assert [file.name for file in runtime.libraries] == ["libLiteRtDispatch_GoogleTensor.so"]


def test_mediatek_is_told_its_version(server: Path, tmp_path: Path) -> None:
    (server / "2.3.0" / "benchmark_model").write_bytes(LITERT)
    for name in ("libLiteRtDispatch_MediaTek.so", "libneuronusdk_adapter.so"):
        (tmp_path / name).write_bytes(ELF)
    runtime = found(delegate="npu", npu_libraries=tmp_path)
    assert "--mediatek_nerun_pilot_version=version9" in runtime.flags("npu", None, "/d")
