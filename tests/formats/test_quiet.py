"""What converters print is kept off the terminal, and nothing that they do to the logging stays."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from amc_hw.formats.quiet import quiet


def test_the_callers_logging_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    with quiet():
        print("a converter's news")
        print("a converter's warning", file=sys.stderr)
        root.addHandler(logging.StreamHandler(io.StringIO()))  # as basicConfig() does in a process without handlers
        root.setLevel(logging.CRITICAL)
        logging.getLogger("converter").warning("more of it")
    assert root.handlers == before
    assert root.level == level
    assert not logging.root.manager.disable
    assert capsys.readouterr() == ("", "")
