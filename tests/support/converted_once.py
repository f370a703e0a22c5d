"""What a converter has converted is not converted again in the same tests: they use few networks, often."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram


@dataclass(frozen=True)
class Converted:
    """What `litert_torch.convert` returns, as far as it is used."""

    content: bytes

    def export(self, path: str) -> None:
        Path(path).write_bytes(self.content)


class ConvertsOnce:
    """Stands for ``litert_torch.convert``; its files are kept by all that the converter sees of a network.

    Args:
        convert: what it stands for.
        folder: has the files, for all processes of the tests.
    """

    def __init__(self, convert: Callable[..., Any], folder: Path) -> None:
        self._convert = convert
        self._folder = folder

    def __call__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        try:
            seen = digest(torch.export.export(model, inputs))
        except Exception:
            return self._convert(model, inputs)  # which says what is wrong with it

        def convert(file: Path) -> None:
            self._convert(model, inputs).export(str(file))

        return Converted(made_once(self._folder / f"{seen}.tflite", convert))


class LowersOnce:
    """Stands for `amc_hw.formats.executorch.convert.lowered`; its files are kept by their programs.

    Args:
        lowered: what it stands for.
        folder: has the files, for all processes of the tests.
    """

    def __init__(self, lowered: Callable[[ExportedProgram], bytes], folder: Path) -> None:
        self._lowered = lowered
        self._folder = folder

    def __call__(self, program: ExportedProgram) -> bytes:
        return made_once(self._folder / f"{digest(program)}.pte", lambda file: file.write_bytes(self._lowered(program)))


def made_once(kept: Path, make: Callable[[Path], object]) -> bytes:
    """Return what is in a file, which is made where it is missing; nobody sees a part of it."""
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            make(file := Path(folder) / kept.name)
            file.replace(kept)
    return kept.read_bytes()


def digest(program: ExportedProgram) -> str:
    """Of a program's operators, their arguments and shapes, the modules that they are from, and all weights."""
    found = hashlib.sha256(str(program).encode())
    for node in program.graph.nodes:
        found.update(f"{node.name} {node.args} {node.kwargs} {node.meta.get('nn_module_stack')}".encode())
    for name, value in {**program.state_dict, **program.constants}.items():
        found.update(f"{name} {value.dtype} {value.shape}".encode())
        found.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
