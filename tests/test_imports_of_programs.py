"""Programs beside the package are not type-checked: what they import from it is there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import amc_hw

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted([*(ROOT / "benchmarks").glob("**/*.py"), *(ROOT / "examples").glob("**/*.py")])


def file_of(module: str) -> Path:
    """Where a module is, or would be."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def made_by(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement of a module gives it."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in statement.names)
    else:
        yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))


def missing(source: str) -> list[str]:
    """What a program imports from amc_hw and does not find there."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "amc_hw":
            module, file = str(node.module), file_of(str(node.module))
            statements = ast.parse(file.read_text()).body if file.exists() else []
            there = {*amc_hw.__all__} if module == "amc_hw" else {name for each in statements for name in made_by(each)}
            submodules = {alias.name for alias in node.names if file_of(f"{module}.{alias.name}").exists()}
            found += [f"{module}.{alias.name}" for alias in node.names if alias.name not in there | submodules]
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_name_that_a_program_imports_is_there(program: Path) -> None:
    assert missing(program.read_text()) == []


def test_a_name_that_was_moved_is_found_missing() -> None:
    assert missing("from amc_hw.latency.table import LatencyTable, Gone") == ["amc_hw.latency.table.Gone"]
    assert missing("def later():\n    from amc_hw.gone import load") == ["amc_hw.gone.load"]
    assert missing("from amc_hw import trace, Gone") == ["amc_hw.Gone"]
    assert missing("from amc_hw.pipeline import finish") == []
