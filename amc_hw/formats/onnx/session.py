"""How ONNX Runtime is to run a file in this process; the profiler, which times files, does it in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

EXACT = "session.x64quantprecision"
"""With this option at 1, integer products are exact on every processor.

Without it x86 processors that have no VNNI add two products of 8 bits in 16, and cut off what does not fit
(github.com/microsoft/onnxruntime/pull/12088). Where there is VNNI it changes nothing.
"""


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return options with which what is wrong is raised and not printed, and integers are computed exactly."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry(EXACT, "1")
    return options
