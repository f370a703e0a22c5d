from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from amc_hw import OwnTask
from amc_hw.errors import UsageError
from amc_hw.models.user_file import load_object, require_function
from amc_hw.models.zoo import build_model, default_image_size

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn

@dataclass
class Width:
    hidden: int = 4

def classes_only(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))

def both(num_classes, in_channels, hidden=Width().hidden):
    return nn.Sequential(nn.Conv2d(in_channels, hidden, 1), nn.Flatten(), nn.LazyLinear(num_classes))

def anything(**arguments):
    return both(arguments["num_classes"], arguments["in_channels"])

def fails(num_classes):
    raise ZeroDivisionError("oops")

def needs_more(depth, num_classes, width=1):
    return nn.Linear(depth, num_classes)

def no_model():
    return 3

not_a_function = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my nets" / "net.py"
    path.parent.mkdir()
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize("function", ["classes_only", "both", "anything"])
def test_a_function_gets_the_arguments_it_takes(file: Path, function: str) -> None:
    model = build_model(f"{file}:{function}", 5, in_channels=3)
    assert model(torch.zeros(2, 3, 2, 2)).shape == (2, 5)
    assert default_image_size(f"{file}:{function}") == 224


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("bith", "did you mean 'both'"),
        ("not_a_function", "unknown function"),
        ("fails", r"net\.py, line 20: ZeroDivisionError: oops; correct the file"),
        ("needs_more", "needs depth, and is given num_classes, in_channels only"),
        ("no_model", "returned int"),
        ("", "names no function"),
    ],
)
def test_wrong_functions(file: Path, function: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(f"{file}:{function}", 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1\ndef net(:\n", "line 2: .*correct the file"),
        ("import a_package_that_is_not_there\n", r"net\.py, line 1: ModuleNotFoundError.* install it"),
        ("import sys\n\nsys.exit('usage: net')\n", r"line 3: SystemExit: usage: net; .*__main__"),
        ("x = 1\n", "has no function 'net'"),
        ("def net():\n\0", "correct the file"),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "net.py"
    path.write_text(content)
    before = set(sys.modules)
    with pytest.raises(UsageError, match=message):
        build_model(f"{path}:net", 5)
    if content != "x = 1\n":
        assert set(sys.modules) == before


def test_a_function_can_be_asked_for_without_being_called(file: Path) -> None:
    require_function(f"{file}:fails")
    with pytest.raises(UsageError, match="did you mean 'both'"):
        require_function(f"{file}:bith")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        build_model(f"{tmp_path}/nothing.py:net", 5)
    with pytest.raises(UsageError, match="names no function"):
        build_model(f"{tmp_path}/nothing.py", 5)


@pytest.fixture(autouse=True)
def _nothing_stays_behind(tmp_path: Path) -> Iterator[None]:
    """A file's neighbours may be found until the next file is run; the suite's other tests want none."""
    paths = list(sys.path)
    yield
    sys.path[:] = paths
    for name, module in list(sys.modules.items()):
        if name.startswith("amc_hw_user_file_") or str(tmp_path) in str(getattr(module, "__file__", None)):
            del sys.modules[name]


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


BLOCKS = "from torch import nn\n\ndef block(n):\n    return nn.Linear(12, n)\n"
NET = """
from torch import nn

class Net(nn.Linear):
    def __init__(self, num_classes, in_features=12):
        super().__init__(in_features, num_classes, bias=False)
    def forward(self, x):
        try:
            from helper import halved
        except ImportError:
            halved = lambda x: x
        return halved(super().forward(x))
"""
MAKE = "\ndef make(num_classes):\n    return block(num_classes)\n"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"blocks.py": BLOCKS, "net.py": "from blocks import block" + MAKE}, "net.py:make"),
        ({"nets/blocks.py": BLOCKS, "net.py": "from nets.blocks import block" + MAKE}, "net.py:make"),
        (
            {"nets/__init__.py": "", "nets/blocks.py": BLOCKS, "nets/net.py": "from .blocks import block" + MAKE},
            "nets/net.py:make",
        ),
        ({"nets/blocks.py": BLOCKS, "nets/net.py": "from .blocks import block" + MAKE}, "nets/net.py:make"),
        (
            {"nets/__init__.py": "", "nets/blocks.py": BLOCKS, "nets/net.py": "from blocks import block" + MAKE},
            "nets/net.py:make",
        ),
        (
            {
                "src/pkg/__init__.py": "",
                "src/pkg/layers/__init__.py": "from pkg.layers.blocks import block",
                "src/pkg/layers/blocks.py": BLOCKS,
                "src/pkg/nets/__init__.py": "",
                "src/pkg/nets/net.py": "from pkg.layers import block\nfrom ..layers import block as other" + MAKE,
            },
            "src/pkg/nets/net.py:make",
        ),
        ({"pkg/__init__.py": "from .blocks import block" + MAKE, "pkg/blocks.py": BLOCKS}, "pkg/__init__.py:make"),
        (
            {"my-nets v1.0/blocks.py": BLOCKS, "my-nets v1.0/a net-2.b.py": "from .blocks import block" + MAKE},
            "my-nets v1.0/a net-2.b.py:make",
        ),
        (
            {
                "blocks.py": BLOCKS,
                "net.py": "def make(num_classes):\n    from blocks import block\n    return block(num_classes)",
            },
            "net.py:make",
        ),
        ({"net.py": NET}, "net.py:Net"),
        ({"net.py": "from torch import nn\nnet = nn.Linear(12, 5)"}, "net.py:net"),
        (
            {
                "types.py": "1 / 0",
                "torch.py": "1 / 0",
                "blocks.py": BLOCKS,
                "net.py": "import types, torch\nfrom blocks import block" + MAKE,
            },
            "net.py:make",
        ),
    ],
)
def test_a_file_finds_its_neighbours(tmp_path: Path, files: dict[str, str], name: str) -> None:
    model = build_model(f"{written(tmp_path, files)}/{name}", 5)
    assert model(torch.zeros(2, 12)).shape == (2, 5)


def test_a_file_finds_what_is_in_the_folder_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"common/blocks.py": BLOCKS, "experiments/one/net.py": "from common.blocks import block" + MAKE}
    monkeypatch.chdir(written(tmp_path, files))
    assert build_model("experiments/one/net.py:make", 5)(torch.zeros(2, 12)).shape == (2, 5)
    monkeypatch.chdir("/")
    with pytest.raises(UsageError, match=r"net\.py, line 1: ModuleNotFoundError: No module named 'common'"):
        build_model(f"{tmp_path}/experiments/one/net.py:make", 5)


def test_an_import_in_forward_is_found(tmp_path: Path) -> None:
    written(tmp_path, {"net.py": NET, "helper.py": "def halved(x):\n    return x / 2"})
    model = build_model(f"{tmp_path}/net.py:Net", 5)
    assert torch.equal(model(torch.ones(1, 12)), torch.nn.functional.linear(torch.ones(1, 12), model.weight) / 2)


def test_neighbours_of_two_files_do_not_mix(tmp_path: Path) -> None:
    for width in (3, 4):
        blocks = BLOCKS.replace("12", str(width))
        files = {"blocks.py": blocks, "nets/__init__.py": "", "nets/inner.py": "from blocks import block"}
        written(tmp_path / str(width), files | {"net.py": "from nets.inner import block" + MAKE})
    for width in (3, 4, 3):
        assert build_model(f"{tmp_path}/{width}/net.py:make", 5).in_features == width


def test_a_file_is_run_as_it_is_now(tmp_path: Path) -> None:
    written(tmp_path, {"net.py": "from blocks import block" + MAKE})
    for width in (3, 40):  # the length differs, too: Python compares times in seconds
        written(tmp_path, {"blocks.py": BLOCKS.replace("12", str(width))})
        assert build_model(f"{tmp_path}/net.py:make", 5).in_features == width


def test_modules_that_were_there_before_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = types.ModuleType("blocks")
    monkeypatch.setitem(sys.modules, "blocks", mine)
    written(tmp_path, {"blocks.py": BLOCKS, "net.py": "from blocks import block" + MAKE})
    assert build_model(f"{tmp_path}/net.py:make", 5).out_features == 5
    assert sys.modules["blocks"] is mine


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ("def block(n)\n", r"blocks\.py, line 1: .*correct the file"),
        ("def block(n):\n    x = n\n    return {}['no\\nkey']\n", r"blocks\.py, line 3: KeyError"),
        ("from torch import nn\n\ndef block(n):\n    return nn.Linear(-1, n)\n", r"blocks\.py, line 4: RuntimeError"),
    ],
)
def test_the_line_of_a_neighbour_is_told(tmp_path: Path, blocks: str, message: str) -> None:
    written(tmp_path, {"blocks.py": blocks, "net.py": "from blocks import block" + MAKE})
    before, paths = set(sys.modules), list(sys.path)
    with pytest.raises(UsageError, match=message) as caught:
        build_model(f"{tmp_path}/net.py:make", 5)
    assert "\n" not in str(caught.value)
    assert (set(sys.modules), sys.path) == (before, paths)


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, {"net.py": BLOCKS})
    with pytest.raises(UsageError, match="needs n, and is given"):
        build_model("~/net.py:block", 5)


def test_what_a_file_is_said_to_have_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "tasks.py"
    path.write_text(
        "from pathlib import Path\nfrom amc_hw import OwnTask, compress\n\n\ndef helper():\n    pass\n\n\n"
        "mine = OwnTask(metric='rank', score=len, train=len, test=len)\n"
    )
    with pytest.raises(UsageError, match=r"known: helper, mine\."):
        load_object(f"{path}:zzzzz", lambda value: isinstance(value, OwnTask))
