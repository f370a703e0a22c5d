"""Who may import whom: layers look downward only, and some parts never load torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    {"__main__", "api", "cli", "sweep"},
    {"pipeline"},
    {"report"},
    {"tasks"},
    {"search", "profiling", "training"},
    {"pruning", "quantize", "formats", "devices"},
    {"budget", "latency", "tracing", "models", "data"},
    {"runs"},
    {"chance", "errors", "policy", "processes", "shipped"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
MOST_OF_ANYTHING = 14
"""Dictionaries that say nothing of what is in them; a record, a dataclass or a TypedDict does."""
FILES = sorted((ROOT / "amc_hw").rglob("*.py"))


def part_of(module: str) -> str | None:
    """The first name below amc_hw, or None for the package itself and for other packages."""
    names = module.split(".")
    return names[1] if names[0] == "amc_hw" and len(names) > 1 else None


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_downward(file: Path) -> None:
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    own = part_of(module)
    if own is None or own == "__init__":
        return
    assert own in RANK, f"{own} has no layer; give it one here"
    for name in imports(file):
        other = part_of(name)
        if other is not None and other in RANK:
            assert RANK[own] <= RANK[other], f"{module} imports {name} from a layer above"


@pytest.mark.parametrize("file", sorted((ROOT / "profilers").glob("*.py")), ids=lambda file: file.name)
def test_profilers_stand_alone(file: Path) -> None:
    assert not [name for name in imports(file) if name.startswith("amc_hw")]


@pytest.mark.parametrize("package", ["latency", "devices"])
def test_never_import_torch(package: str) -> None:
    if package == "latency":
        pytest.importorskip("ai_edge_litert")  # for one of its modules
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in (ROOT / "amc_hw" / package).rglob("*.py")
        if file.name != "__init__.py"
    ]
    load = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
    script = load + "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("missing", [("ai_edge_litert", "litert_torch"), ("onnx", "onnxruntime", "onnxscript")])
def test_a_missing_runtime_leaves_everything_else(missing: tuple[str, ...]) -> None:
    of_their_own = ("graph", "kernels", "activations", "delegate", "native", "one_part", "operators")
    files = [file for file in FILES if file.stem not in (*of_their_own, "__init__")]
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    hide = f"import importlib, sys\nsys.modules.update(dict.fromkeys({missing!r}))\n"
    load = f"for m in {modules!r}: importlib.import_module(m)\n"
    assert subprocess.run([sys.executable, "-c", hide + load], check=False).returncode == 0


def literals(file: Path) -> Iterator[str]:
    """Every text in a file but its docstrings."""
    tree = ast.parse(file.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_the_names_of_a_runs_files_are_known_to_the_run_folder_alone() -> None:
    names = ROOT / "amc_hw" / "runs" / "file_names.py"
    of_files = {text for text in literals(names) if re.fullmatch(r"[a-z-]+\.[a-z]+", text)}
    assert {"policy.json", "episodes.jsonl", "model.pt", "report.html", "log.txt"} <= of_files
    for file in FILES:
        if file != names:
            assert not of_files & set(literals(file)), file


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}
    doors = {"amc_hw"}  # whose public names are types only, until they are asked for
    left = {
        name: {part for found in imports(file) for part in (found, found.rpartition(".")[0]) if part in names} - doors
        for name, file in names.items()
    }
    while free := [name for name, needed in left.items() if not (needed & left.keys()) - {name}]:
        for name in free:
            del left[name]
    assert not left


def test_search_sees_no_device() -> None:
    for file in (ROOT / "amc_hw" / "search").glob("*.py"):
        assert not [name for name in imports(file) if part_of(name) == "devices"], file


def test_help_needs_no_heavy_library() -> None:
    heavy = ("torch", "numpy", "litert_torch", "rich")
    script = f"import sys, amc_hw.cli.main\nsys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_help_builds_no_validator() -> None:
    script = (
        "import sys, amc_hw.cli.main\nfrom pydantic import BaseModel\n"
        "def below(kind): return [kind, *(each for sub in kind.__subclasses__() for each in below(sub))]\n"
        "sys.exit(str([m.__name__ for m in below(BaseModel)[1:] if m.__module__.startswith('amc_hw') "
        "and m.__pydantic_complete__]).strip('[]') or 0)"
    )
    told = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")


def test_dictionaries_of_anything_are_few() -> None:
    of_anything = re.compile(r"\bdict\[str, (?:Any|object)\]")
    found = {str(file.relative_to(ROOT)): len(of_anything.findall(file.read_text())) for file in FILES}
    assert sum(found.values()) <= MOST_OF_ANYTHING, {file: count for file, count in found.items() if count}
