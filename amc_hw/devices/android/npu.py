"""The libraries that a phone's NPU needs beside LiteRT: its dispatch and compiler plug-ins, and the maker's runtime."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from amc_hw.devices.android.benchmark_model import require_architecture
from amc_hw.devices.android.litert import find_litert
from amc_hw.errors import DeviceError, UsageError

VARIABLE = "AMC_HW_NPU_LIBRARIES"
CURE = f"name their folder: {VARIABLE}=DIR, or npu_libraries = 'DIR' in the devices file"

PLUGINS = ("libLiteRtDispatch_{maker}.so", "libLiteRtCompilerPlugin_{maker}.so")
_MAKERS = {
    "Qualcomm": re.compile(r"\b(qti|qualcomm|qcom|msm\d+|sd[am]\d+|s[am]\d{4})"),
    "MediaTek": re.compile(r"\b(mediatek|mt\d{4})"),
}
"""Makers whose plug-ins are published with LiteRT, and how their chips are called."""
_NEURON_9 = "libneuronusdk_adapter.so"
"""MediaTek's runtime of NeuroPilot 9; that of 8 ends with ``.mtk.so``."""


def npu_libraries(phone: Mapping[str, str], version: str, given: Path | None) -> tuple[Path, ...]:
    """Return the libraries that are pushed beside the program, in order of their names.

    Args:
        phone: its properties ``maker``, ``soc``, ``board``, ``hardware`` and ``abi``.
        version: of LiteRT.
        given: the user's folder with the runtime of the NPU's maker, and with plug-ins where they are to be others than
            the published ones; the environment variable AMC_HW_NPU_LIBRARIES names one, too.

    Raises:
        UsageError: the folder does not exist, or has no library.
        DeviceError: there are no plug-ins for this phone, or a library is for another architecture.
    """
    found = {file.name: file for file in _given(given)}
    for file in found.values():
        require_architecture(file, phone["abi"])
    if not any(name.startswith("libLiteRtDispatch_") for name in found):
        maker = _maker(phone)
        for plugin in (name.format(maker=maker) for name in PLUGINS):
            found[plugin] = found.get(plugin) or find_litert(plugin, version, phone["abi"])
    return tuple(found[name] for name in sorted(found))


def _given(folder: Path | None) -> list[Path]:
    named = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        return []
    files = sorted(named.expanduser().glob("*.so"))
    if not files:
        raise UsageError(f"the folder {named} of NPU libraries does not exist, or has no file *.so; {CURE}.")
    return files


def _maker(phone: Mapping[str, str]) -> str:
    """Return who made a phone's chip, as LiteRT's files are named."""
    said = " ".join(phone[name] for name in ("maker", "soc", "board", "hardware")).lower()
    for maker, form in _MAKERS.items():
        if form.search(said):
            return maker
    chip = phone["soc"] or phone["board"] or "unknown"
    raise DeviceError(
        f"LiteRT publishes no plug-ins for the NPU of this phone ({chip}), only for those of {' and '.join(_MAKERS)}; "
        f"get {PLUGINS[0].format(maker='...')} and the maker's runtime and {CURE}."
    )


def npu_flags(libraries: Iterable[Path]) -> tuple[str, ...]:
    """Return flags that depend on the maker's runtime: which one MediaTek's plug-in is to use."""
    return ("--mediatek_nerun_pilot_version=version9",) if any(f.name == _NEURON_9 for f in libraries) else ()


def npu_environment(folder: str) -> tuple[str, ...]:
    """Return the variables by which the phone finds the libraries, also on the NPU itself."""
    return (f"LD_LIBRARY_PATH={folder}", f"ADSP_LIBRARY_PATH={folder}")
