"""A setting is written once, in RunConfig: its option, its help and Python's argument are made from there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import amc_hw

from amc_hw.cli.options import ARGUMENTS, DEFAULTS, SETTINGS, dashed, with_options
from amc_hw.errors import UsageError
from amc_hw.runs.config import DEMO_MODEL, Budgets, RunConfig, make_config

ROOT = Path(__file__).parents[2]
SEARCHING = {"compress": set[str](), "search": {"rounds", "epochs"}, "sweep": set[str]()}
MADE_UP = """
import sys
import amc_hw.runs.config as config
from pydantic import Field

class More(config.RunConfig):
    made_up: int = Field(3, ge=1, description="a setting that nobody has")

config.RunConfig = More
"""


def in_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MADE_UP + script, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.parametrize("command", SEARCHING)
def test_a_new_setting_is_an_option_of_every_command_that_searches(command: str) -> None:
    told = in_python("from amc_hw.cli import main\nmain()", command, "--help")
    assert re.search(r"--made-up .*a setting that nobody has\s+\[default:\s+3;\s+x>=1\]", told.stdout, re.S), told
    refused = in_python("from amc_hw.cli import main\nmain()", command, "--made-up", "0")
    assert refused.returncode == 2, refused


@pytest.mark.parametrize("command", ["profile", "sweep", "table check"])
def test_several_devices_are_refused_where_a_command_is_for_one(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amc_hw(*command.split(), "--device", "host", "--device=onnx") == 2
    assert "--device is given twice; this command is for one device." in capsys.readouterr().err


def test_a_new_setting_is_an_argument_in_python(tmp_path: Path) -> None:
    told = in_python(
        "import torch, amc_hw\n"
        "from amc_hw.errors import UsageError\n"
        "for value in (0, 4):\n"
        "    try:\n"
        "        amc_hw.compress(torch.nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 8, 8), data='digits', run=sys.argv[1],"
        " made_up=value)\n"
        "    except UsageError as error:\n"
        "        print(error)\n",
        str(tmp_path / "run"),
    )
    first, second = told.stdout.splitlines()
    assert first == "made_up: it takes a whole number from 1 on (a setting that nobody has), not 0."
    assert "example input" in second  # nothing is wrong with the setting


@pytest.mark.parametrize("command", SEARCHING)
def test_every_setting_is_an_option_of_every_command_that_searches(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amc_hw(command, "--help") == 0
    shown = capsys.readouterr().out
    for name in SETTINGS.keys() - SEARCHING[command]:
        assert f" {dashed(name)} " in shown, name


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--model", "resnet21"),
        ("--data", "digit"),
        ("--device", "hots"),
        ("--strategy", "dpg"),
        ("--reward", "resorce"),
        ("--importance", "tailor"),
    ],
)
def test_an_unknown_name_comes_with_the_option_it_was_given_for(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amc_hw("compress", option, value, "--run", tmp_path / "run") == 2
    assert f"'{value}' for {option}; did you mean" in " ".join(capsys.readouterr().err.split())


def test_in_python_it_comes_with_the_argument() -> None:
    with pytest.raises(UsageError, match="unknown strategy 'dpg' for strategy=; did you mean 'ddpg'"):
        make_config(strategy="dpg")


def test_the_defaults_are_the_settings_own() -> None:
    nothing = make_config()
    assert nothing.model == DEMO_MODEL
    for name in SETTINGS.keys() - Budgets.model_fields.keys():
        assert getattr(nothing, name) == DEFAULTS[name]


def test_what_decides_a_run_is_described_or_explained() -> None:
    for name, field in RunConfig.model_fields.items():
        assert field.description or f"{name}:" in str(RunConfig.__doc__) or name == "format"


def test_the_readme_names_every_option_of_compress() -> None:
    table = (ROOT / "README.md").read_text()
    rows = "\n".join(line for line in table.splitlines() if line.startswith("| `--"))
    named = set(re.findall(r"`--([a-z-]+)", rows))
    assert named >= {dashed(name)[2:] for name in SETTINGS}
    assert named <= {dashed(name)[2:] for name in SETTINGS} | {"run", "compute"}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("leave accuracy_floor= out, or take reward=other.", "leave --accuracy-floor out, or take --reward other."),
        ("give a lower accuracy_floor=.", "give a lower --accuracy-floor."),
        ("episodes: Input should be 1.", "--episodes: Input should be 1."),
        ("name that folder as data_root=DIR.", "name that folder as --data-root DIR."),
        ("leave dtype= out; give image_size= (224).", "leave --dtype out; give --image-size (224)."),
        ("threads=2 contradicts", "--threads 2 contradicts"),
        ("the option of host:threads=2 and my_model=3: no", "the option of host:threads=2 and my_model=3: no"),
        ("unknown model: m", "unknown model: m"),
        (
            "with: amc-hw train --model ../my/net.py:f --out FILE",
            "with: amc-hw train --model ../my/net.py:f --out FILE",
        ),
    ],
)
def test_messages_name_arguments_and_the_command_line_shows_options(message: str, shown: str) -> None:
    assert with_options(message) == shown


def texts(file: Path) -> list[str]:
    """Texts of a file but for its docstrings, with a mark where a value is put in."""
    tree = ast.parse(file.read_text())
    spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (spoken | parts):
            found.append(node.value)
    return found


def test_the_library_names_arguments_and_options_only_in_whole_commands() -> None:
    options = re.compile(rf"(?<!\S)--({'|'.join(dashed(name)[2:] for name in ARGUMENTS)})(?![\w-])")
    assert options.search("give --image-size 8")
    named = {
        (str(file.relative_to(ROOT)), text)
        for file in (ROOT / "amc_hw").glob("**/*.py")
        if "cli" not in file.parts
        for text in texts(file)
        if " " in text and options.search(text) and "amc-hw " not in text
    }
    assert not named
