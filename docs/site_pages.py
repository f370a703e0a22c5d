"""Hooks of MkDocs: what the site holds besides the pages in ``docs/``, and where links of the checkout lead in it.

Pages link each other as files of the checkout, so that they read well there, too. The site is ``docs/`` with the README
as its front page, pages from outside of ``docs/``, notebooks with their stored outputs, and a copy of every other file
that a page links.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "docs/README.md": "start.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "benchmarks/README.md": "benchmarks.md",
    "lookup_tables/README.md": "lookup_tables.md",
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in ``docs/`` or not Markdown."""
    files.remove(_found(files, "README.md"))
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        body, resources = MarkdownExporter().from_filename(str(ROOT / "docs" / notebook.src_uri))
        # Names of pictures begin with that of the notebook, because all notebooks call theirs output_1_0.png.
        stem = notebook.src_uri.removesuffix(".ipynb")
        for name, content in resources["outputs"].items():
            body = body.replace(f"({name})", f"({posixpath.basename(stem)}-{name})")
            files.append(File.generated(config, f"{stem}-{name}", content=content))
        files.append(File.generated(config, f"{stem}.md", content=body))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to the site's pages, and to copies of files that are no pages."""
    origin = {site: source for source, site in PAGES.items()}
    folder = posixpath.dirname(origin.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    here = posixpath.dirname(page.file.src_uri) or "."

    def target(link: re.Match[str]) -> str:
        source = posixpath.normpath(posixpath.join(folder, link[1]))
        site = PAGES.get(source) or source.removeprefix("docs/").replace(".ipynb", ".md")
        if site == source and (ROOT / source).is_file() and files.get_file_from_path(site) is None:
            files.append(File.generated(config, site, abs_src_path=str(ROOT / source)))
        return posixpath.relpath(site, here)

    return LINK.sub(target, markdown)


def _found(files: Files, name: str) -> File:
    file = files.get_file_from_path(name)
    if file is None:
        raise FileNotFoundError(f"docs/{name} is gone; PAGES in {__file__} names it")
    return file
