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
from amc_hw.errors import CheckpointError, DeviceError, RunFolderError, UsageError, WrongRunError
from amc_hw.models.checkpoint import save_checkpoint
from amc_hw.runs.begun import open_run
from amc_hw.runs.config import make_config
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.records import ChosenPolicy

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
    assert RunFolder(run).policy.read().image_size == [1, 32, 32]
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


def test_a_network_without_a_name_becomes_a_program_too(tmp_path: Path) -> None:
    network, images, file = TinyNet().eval(), torch.rand(2, 1, 32, 32), tmp_path / "mine.pt2"
    library.export(network, images, str(file))
    assert torch.allclose(torch.export.load(file).module()(images), network(images), atol=1e-6)
    with pytest.raises(library.AmcHwError, match="in fp32 only; leave precision="):
        library.export(network, images, file, "int8", images)


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


HEAD_FIRST = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.head = nn.Linear(32 * 4 * 6, num_classes)
        self.body = nn.Sequential(nn.Conv2d(in_channels, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())

    def forward(self, x):
        return self.head(self.body(x).flatten(1))
"""


@pytest.fixture
def searched(tmp_path: Path) -> tuple[RunFolder, nn.Module]:
    """A run that was only searched, of a network for images of 16x24 whose classifier is its first layer."""
    file, run = tmp_path / "net.py", RunFolder(tmp_path / "searched")
    file.write_text(HEAD_FIRST)
    names: dict[str, type[nn.Module]] = {}
    exec(HEAD_FIRST, names)
    torch.manual_seed(0)
    model = names["Net"](4, 1)
    traced = library.trace(model, torch.zeros(1, 1, 16, 24))
    policy = {group: counts[0] for group, counts in traced.choices.items()}
    small = library.Pruner(model, traced.network, torch.randn(8, 1, 16, 24), reconstruction="none").pruned(policy)
    open_run(run.path, make_config(model=f"{file}:Net", data="npz:nowhere", macs="0.5x"))
    save_checkpoint(model, run.baseline)
    run.policy.write(ChosenPolicy(channels=policy, image_size=[1, 16, 24]))
    save_checkpoint(small, run.pruned)
    return run, small


def test_a_searched_run_is_loaded_whatever_its_images_and_the_order_of_its_layers(
    searched: tuple[RunFolder, nn.Module],
) -> None:
    run, small = searched
    images = torch.randn(3, 1, 16, 24)
    assert torch.equal(library.load(run.path)(images), small(images))


def test_weights_of_the_original_that_are_gone_or_damaged_are_named_with_what_makes_them(
    searched: tuple[RunFolder, nn.Module],
) -> None:
    run, _ = searched
    run.baseline.write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match="make it again with: amc-hw search --run"):
        library.load(run.path)
    run.baseline.unlink()
    with pytest.raises(WrongRunError, match="is missing; make it with: amc-hw search --run"):
        library.load(run.path)


def test_a_device_out_of_reach_is_predicted_from_its_shipped_table(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("litert_torch")

    def away(name: str, precision: str) -> None:
        raise DeviceError(f"{name} is not connected")

    monkeypatch.setattr("amc_hw.devices.table_only.open_device", away)
    traced = library.trace(TinyNet(), torch.zeros(1, 1, 32, 32))
    with library.open_device("pixel1") as device:
        cost = library.latency_cost(device, traced)
        smallest = {group: counts[0] for group, counts in traced.choices.items()}
        assert 0 < cost(smallest) < cost(traced.network.original)
        with pytest.raises(UsageError, match="leave table= out"):
            library.latency_cost(device, traced, "other.json")


def test_importing_the_library_loads_nothing_and_still_lists_every_name() -> None:
    script = (
        "import sys, amc_hw\nmissing = set(amc_hw.__all__) - set(dir(amc_hw))\n"
        "sys.exit(str(missing) if missing else any(m in sys.modules for m in ('torch', 'numpy', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
