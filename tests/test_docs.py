"""The documentation names what exists, and its notebooks run as they stand."""

from __future__ import annotations

import os
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import nbformat
import pytest
from commands import PROGRAM
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for folder in (ROOT, *(ROOT / n for n in ("docs", "benchmarks", "lookup_tables")))
    for page in folder.glob("*.md")
)
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
FOLDERS = "amc_hw|benchmarks|device_scripts|examples|lookup_tables|profilers|tests"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w/.-]*", page.read_text())
    assert [path for path in named if not (ROOT / path.rstrip(".")).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_name_on_a_page_can_be_imported(page: Path) -> None:
    for name in re.findall(r"`(?:::: )?(amc_hw(?:\.\w+)+)|^::: (amc_hw[\w.]*)", page.read_text(), re.MULTILINE):
        pkgutil.resolve_name("".join(name))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_runs_as_it_stands(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "bin" / "amc-hw"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, PROGRAM])} "$@"\n')
    command.chmod(0o755)
    folders = (command.parent, Path(sys.executable).parent, os.environ["PATH"])
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content = nbformat.read(notebook, as_version=4)
    stored = _kinds(content)
    NotebookClient(content, timeout=250, kernel_name="python3").execute(cwd=str(tmp_path))
    assert _kinds(content) == stored  # the figures are another machine's
    assert notebook.stat().st_size < 150_000


def _kinds(notebook: nbformat.NotebookNode) -> list[set[str]]:
    """Return what every cell shows: text, a picture, an error."""
    return [{shown.output_type for shown in cell.get("outputs", ())} for cell in notebook.cells]
