"""The public names: the page that shows them runs as it stands, and a run's network comes back in a fresh process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import TINY, amc_hw
from tiny import TinyNet
from torch import nn

import amc_hw as library
from amc_hw.errors import CheckpointError, UsageError, WrongRunError

PAGE = Path(__file__).parent.parent / "docs" / "library.md"


def test_every_public_name_is_there_and_on_the_page() -> None:
    page = PAGE.read_text()
    for name in library.__all__:
        assert getattr(library, name) is not None
    for name in ("compress", "trace", "Pruner", "SearchSpace", "run_study", "open_device", "load"):
        assert name in library.__all__
        assert name in page


def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("litert_torch")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    small, again, images = names["small"], names["again"], names["images"]
    assert isinstance(small, nn.Module)
    assert isinstance(again, nn.Module)
    result = names["result"].model(images[:4])  # type: ignore[attr-defined,index]
    assert torch.equal(again(images[:4]), result)  # type: ignore[index]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    pytest.importorskip("litert_torch")
    run = tmp_path_factory.mktemp("loaded") / "run"
    options = ("--macs", "0.6x", "--episodes", 3, "--epochs", 1)
    command = ("compress", "--model", TINY, "--checkpoint", checkpoint, "--data", "digits", *options, "--run", run)
    assert amc_hw(*command) == 0
    return run


def test_a_fresh_process_has_the_network_of_a_run_without_its_data(run: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 1, 32, 32)
    torch.save(images, tmp_path / "images.pt")
    script = (
        "import sys, torch\nfrom amc_hw import load\nrun, folder = sys.argv[1:]\n"
        "images = torch.load(folder + '/images.pt', weights_only=True)\n"
        "torch.save(load(run)(images).detach(), folder + '/outputs.pt')"
    )
    subprocess.run([sys.executable, "-c", script, run, tmp_path], check=True)
    outputs = torch.load(tmp_path / "outputs.pt", weights_only=True)
    given = library.load(run, model=TinyNet())
    assert not given.training
    assert torch.allclose(outputs, given(images), atol=1e-6)
    assert sum(p.numel() for p in given.parameters()) < sum(p.numel() for p in TinyNet().parameters())


def test_a_program_runs_where_amc_hw_is_not_installed(run: Path, tmp_path: Path) -> None:
    assert amc_hw("export", "--run", run, "--format", "pt2") == 0
    script = (
        "import sys, torch\nsys.modules['amc_hw'] = None\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "print(tuple(program(torch.zeros(1, 1, 32, 32)).shape))"
    )
    said = subprocess.run([sys.executable, "-c", script, run / "model.pt2"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "(1, 10)"


def test_what_cannot_be_loaded_is_refused_with_the_cure(run: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongRunError, match="does not exist"):
        library.load(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="the model is not the one that"):
        library.load(run, model=nn.Linear(3, 3))
    config = (run / "config.json").read_text()
    nameless = tmp_path / "nameless"
    nameless.mkdir()
    for file in run.glob("*.*"):
        (nameless / file.name).write_bytes(file.read_bytes())
    (nameless / "config.json").write_text(re.sub(r'"model": "[^"]*"', '"model": "Mine"', config))
    with pytest.raises(UsageError, match=r"load\('.*', model=\.\.\.\)"):
        library.load(nameless)
    with pytest.raises(UsageError, match="give images"):
        library.trace(TinyNet(), torch.zeros(1, 32, 32))
