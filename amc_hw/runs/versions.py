"""The versions of what a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = (
    *("amc-hw", "torch", "ai-edge-litert", "litert-torch", "ai-edge-quantizer", "onnxruntime", "numpy", "scikit-learn"),
    "executorch",
)


def library_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
