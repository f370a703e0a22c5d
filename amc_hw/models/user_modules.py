"""Runs a user's file where its imports of neighbours work, and keeps the neighbours of two files apart."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

# A second copy of these would not work with the first one, so a neighbour does not hide them.
_KEPT = {*sys.stdlib_module_names, "amc_hw", "torch", "torchvision", "numpy"}

_PACKAGE = "amc_hw_user_file_"

_paths: list[str] = []  # of the file that was run last
_modules: dict[str, ModuleType] = {}


def project_of(path: Path) -> Path:
    """Return the folder that a file's imports begin in: its own, or the one that its package is in."""
    folder = path.resolve().parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


@contextmanager
def imported(path: Path) -> Iterator[ModuleType]:
    """Run a file anew, as a module of its package if it is in one, and yield it.

    Inside of the block imports look first into the file's project, its folder, and the folder of this process where
    the file is below that. Afterwards they look there last, until the next file is run: then all that this one
    imported from there is forgotten. Modules of the same names that were there before are there again.

    Raises:
        Exception: whatever the file raises; SystemExit, too.
    """
    _forget()
    folder, here = path.resolve().parent, Path.cwd()
    wanted = [project_of(path), folder, *([here] if folder.is_relative_to(here) else [])]
    found = {str(Path(entry).resolve()) for entry in sys.path}
    roots = [entry for entry in dict.fromkeys(map(str, wanted)) if entry not in found]
    aside = _set_aside(roots)
    before = set(sys.modules)
    sys.path[:0] = roots
    importlib.invalidate_caches()
    try:
        yield _run(path.resolve())
    except BaseException:
        _note(before, roots)
        _forget()
        raise
    else:
        _note(before, roots)
        sys.path += roots
        _paths.extend(roots)
    finally:
        for root in roots:
            sys.path.remove(root)
        sys.modules.update(aside)


def _run(path: Path) -> ModuleType:
    """Import the packages that a file is in, then run the file as their module."""
    package = ".".join(path.parent.relative_to(project_of(path)).parts)
    if package:
        parent = importlib.import_module(package)
        if path.name == "__init__.py":
            return parent
    else:  # a package of its own, for relative imports; its name is nobody else's
        package = _PACKAGE + hashlib.sha256(path.as_posix().encode()).hexdigest()[:16]
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(path.parent)]
    name = f"{package}.{path.stem.replace('.', '_')}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError("it cannot be loaded as Python")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # where dataclasses and pickling look it up
    specification.loader.exec_module(module)
    return module


def _set_aside(roots: Sequence[str]) -> dict[str, ModuleType]:
    """Take those modules out of Python's list that came from elsewhere and are named like a neighbour."""
    names: set[str] = set()
    for root in map(Path, roots):
        names |= {file.stem for file in root.glob("*.py")} | {file.parent.name for file in root.glob("*/__init__.py")}
    foreign = {
        name
        for name in names - _KEPT
        if name in sys.modules and not any(_is_below(sys.modules[name], root) for root in roots)
    }
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in foreign}


def _note(before: set[str], roots: Sequence[str]) -> None:
    """Remember the new modules that came from a file's folders, and not from an environment below one of them."""
    others = [entry for entry in sys.path if entry not in roots and any(Path(entry).is_relative_to(r) for r in roots)]
    for name in sys.modules.keys() - before:
        module = sys.modules[name]
        own = any(_is_below(module, root) for root in roots) and not any(_is_below(module, each) for each in others)
        if own or name.startswith(_PACKAGE):
            _modules[name] = module


def _is_below(module: ModuleType, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", ()))  # a package without __init__.py
    return bool(places) and Path(places[0]).resolve().is_relative_to(folder)


def _forget() -> None:
    for name, module in _modules.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    for path in _paths:
        if path in sys.path:
            sys.path.remove(path)
    _modules.clear()
    _paths.clear()
