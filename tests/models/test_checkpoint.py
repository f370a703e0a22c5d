from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from amc_hw.errors import CheckpointError, RunFolderError
from amc_hw.models.checkpoint import load_checkpoint, save_checkpoint
from amc_hw.models.zoo import build_model


def small_net(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, outputs))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_changes_no_weight_unseen(
    tmp_path_factory: pytest.TempPathFactory, place: float, change: int
) -> None:
    path, source, model = tmp_path_factory.mktemp("flipped") / "c.pt", small_net(), small_net()
    save_checkpoint(source, path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= change
    path.write_bytes(content)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    try:
        load_checkpoint(model, path)
    except CheckpointError:
        assert same(model.state_dict(), before)
    else:
        assert same(model.state_dict(), source.state_dict())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "best_prec1": 91.7, "epoch": 3},
        lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}},
        lambda tensors: {f"module.{key}": tensor for key, tensor in tensors.items()},
        lambda tensors: {"state_dict": {f"module.{key}": tensor for key, tensor in tensors.items()}},
        lambda tensors: {key: tensor for key, tensor in tensors.items() if "num_batches" not in key},
    ],
)
def test_the_usual_layouts_load(tmp_path: Path, wrap) -> None:
    source, model = small_net(), small_net()
    torch.save(wrap(source.state_dict()), tmp_path / "c.pt")
    load_checkpoint(model, tmp_path / "c.pt")
    assert same(model.state_dict(), source.state_dict())


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    source = small_net().to(memory_format=torch.channels_last)
    save_checkpoint(source, tmp_path / "new folder" / "model.pt")
    model = small_net()
    load_checkpoint(model, tmp_path / "new folder" / "model.pt")
    assert same(model.state_dict(), source.state_dict())
    assert [each.name for each in (tmp_path / "new folder").iterdir()] == ["model.pt"]


def test_a_misfit_names_the_tensors_and_changes_nothing(tmp_path: Path) -> None:
    tensors = small_net(outputs=4).state_dict()
    del tensors["0.bias"]
    tensors |= {f"extra.{i}": torch.zeros(1) for i in range(7)}
    torch.save(tensors, tmp_path / "c.pt")
    model = small_net()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, tmp_path / "c.pt")
    message = str(caught.value)
    assert "missing: 0.bias;" in message
    assert "unexpected: extra.0, extra.1, extra.2, extra.3, extra.4 and 2 more;" in message
    assert "of another shape: 3.weight 4x16, needed 3x16, 3.bias 4, needed 3." in message
    assert same(model.state_dict(), before)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(small_net(), path)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(small_net(), tmp_path)
    path.write_bytes(pickle.dumps({"weight": [1, 2]}))
    with pytest.raises(CheckpointError, match=r"plain tensors|no tensors"):
        load_checkpoint(small_net(), path)
    torch.save(small_net(), path)  # a whole module is code, which is not run
    with pytest.raises(CheckpointError, match="plain tensors"):
        load_checkpoint(small_net(), path)
    torch.save([1, 2, 3], path)
    with pytest.raises(CheckpointError, match="no tensors by name"):
        load_checkpoint(small_net(), path)
    save_checkpoint(small_net(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="plain tensors"):
        load_checkpoint(small_net(), path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_give_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(small_net(), tmp_path / "c.pt")


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small_net()
    save_checkpoint(source, tmp_path / "model.pt")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match="No space left"):
        save_checkpoint(small_net(), tmp_path / "model.pt")
    model = small_net()
    load_checkpoint(model, tmp_path / "model.pt")
    assert same(model.state_dict(), source.state_dict())


def test_published_naming() -> None:
    """The names in AMC's MobileNets and in the public CIFAR ResNets."""
    v1 = build_model("mobilenet_v1_0.25", 10).state_dict()
    assert {"conv1.0.weight", "conv1.1.running_var", "features.0.0.weight", "features.0.1.bias"} <= v1.keys()
    assert {"features.12.3.weight", "features.12.4.weight", "classifier.1.weight"} <= v1.keys()
    assert len(v1) == 27 * 6 + 2
    v2 = build_model("mobilenet_v2_0.5", 10).state_dict()
    assert {"features.0.0.weight", "features.1.conv.3.weight", "features.17.conv.7.bias"} <= v2.keys()
    assert {"features.18.1.bias", "classifier.1.bias"} <= v2.keys()
    resnet = build_model("resnet20", 10).state_dict()
    assert {"bn1.running_mean", "layer1.0.conv1.weight", "layer3.2.bn2.running_var", "linear.bias"} <= resnet.keys()
    assert sum("num_batches_tracked" not in key for key in resnet) == 97
