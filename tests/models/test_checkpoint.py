from __future__ import annotations

import argparse
import contextlib
import datetime
import errno
import logging
import os
import pickle
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from amc_hw.errors import CheckpointError, RunFolderError
from amc_hw.models.checkpoint import load_checkpoint, save_checkpoint
from amc_hw.models.zoo import build_model


def small_net(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, outputs))


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in tensors.items()}


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


def test_a_changed_byte_of_the_list_of_contents_changes_no_weight_unseen(tmp_path: Path) -> None:
    path, source, model = tmp_path / "c.pt", small_net(), small_net()
    save_checkpoint(source, path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        begin = archive.start_dir
    for place in range(begin, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])  # 16 marks folders
        try:
            load_checkpoint(model, path)
        except CheckpointError:
            continue
        assert same(model.state_dict(), source.state_dict()), place
        model = small_net()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "best_prec1": 91.7, "epoch": 3},
        lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}},
        lambda tensors: {f"module.{key}": tensor for key, tensor in tensors.items()},
        lambda tensors: {"state_dict": {f"module.{key}": tensor for key, tensor in tensors.items()}},
        lambda tensors: {key: tensor for key, tensor in tensors.items() if "num_batches" not in key},
        lambda tensors: {"epoch": 3, "model_state_dict": tensors, "loss": torch.tensor(0.4)},
        lambda tensors: {"net": prefixed("module.", tensors), "acc": 93.1},
        lambda tensors: {"params": tensors},
        lambda tensors: {"params_ema": tensors},
        lambda tensors: {"model": {"config": {"depth": 20}, "state_dict": prefixed("model.", tensors)}},
        lambda tensors: {"module": tensors, "ds_version": "0.14", "optimizer": None},
        lambda tensors: prefixed("_orig_mod.module.", tensors),
        lambda tensors: prefixed("module._orig_mod.", tensors),
        lambda tensors: prefixed("base_model.mobilenet.", tensors),
        lambda tensors: {"state_dict": prefixed("model.net.backbone.", tensors)},
        lambda tensors: {key.replace("1.", "1._orig_mod.", 1): tensor for key, tensor in tensors.items()},
        lambda tensors: {key.replace(".", "._fsdp_wrapped_module.", 1): tensor for key, tensor in tensors.items()},
        lambda tensors: tensors | {"total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)},
        lambda tensors: {"model_ema": {"n_averaged": torch.tensor(7), **prefixed("module.", tensors)}},
        lambda tensors: {"state_dict": tensors, "args": argparse.Namespace(lr=0.1, out=PurePosixPath("a"))},
        lambda tensors: {"state_dict": tensors, "best": np.float64(0.9), "curve": np.arange(3.0)},
        lambda tensors: {"state_dict": tensors, "when": datetime.datetime(2024, 5, 1, 12)},
        lambda tensors: {key: nn.Parameter(tensor, tensor.is_floating_point()) for key, tensor in tensors.items()},
    ],
)
def test_the_usual_layouts_load(tmp_path: Path, wrap) -> None:
    source, model = small_net(), small_net()
    torch.save(wrap(source.state_dict()), tmp_path / "c.pt")
    load_checkpoint(model, tmp_path / "c.pt")
    assert same(model.state_dict(), source.state_dict())


def test_safetensors_load_and_damaged_ones_do_not(tmp_path: Path) -> None:
    source, model, path = small_net(), small_net(), tmp_path / "c.safetensors"
    save_file(prefixed("model.", source.state_dict()), path)
    load_checkpoint(model, path)
    assert same(model.state_dict(), source.state_dict())
    for damaged in (path.read_bytes()[:-1], path.read_bytes().replace(b"F32", b"F33")):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(model, path)


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema"])
def test_of_weights_and_their_averages_the_averages_are_taken_which_is_said(tmp_path: Path, caplog, key: str) -> None:
    source, averages, model = small_net(), small_net(), small_net()
    torch.save({"state_dict": source.state_dict(), key: averages.state_dict()}, tmp_path / "c.pt")
    with caplog.at_level(logging.WARNING, "amc_hw"):
        load_checkpoint(model, tmp_path / "c.pt")
    assert same(model.state_dict(), averages.state_dict())
    assert f"'{key}', their moving average, is taken" in caplog.text


def test_of_two_networks_that_fit_none_is_guessed(tmp_path: Path) -> None:
    one, other = small_net().state_dict(), small_net().state_dict()
    torch.save({"state_dict": prefixed("student.", one) | prefixed("teacher.", other)}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"several .* 'state_dict\.student' and 'state_dict\.teacher'"):
        load_checkpoint(small_net(), tmp_path / "c.pt")


def test_what_lies_beside_the_model_is_told(tmp_path: Path, caplog) -> None:
    source, model = small_net(), small_net()
    torch.save(prefixed("model.", source.state_dict()) | {"criterion.weight": torch.ones(3)}, tmp_path / "c.pt")
    with caplog.at_level(logging.WARNING, "amc_hw"):
        load_checkpoint(model, tmp_path / "c.pt")
    assert same(model.state_dict(), source.state_dict())
    assert "left out beside it: criterion.weight" in caplog.text


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    torch.save({key: tensor.to(torch.int8) for key, tensor in small_net().state_dict().items()}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="4x1x3x3 int8, needed 4x1x3x3 float32"):
        load_checkpoint(small_net(), tmp_path / "c.pt")


def test_a_lazy_model_loads_or_names_what_is_missing(tmp_path: Path) -> None:
    source = nn.Sequential(nn.Linear(4, 3))
    torch.save(source.state_dict(), tmp_path / "c.pt")
    model = nn.Sequential(nn.LazyLinear(3))
    load_checkpoint(model, tmp_path / "c.pt")
    assert same(model.state_dict(), source.state_dict())
    with pytest.raises(CheckpointError, match=r"missing: 1\.weight"):
        load_checkpoint(nn.Sequential(nn.LazyLinear(3), nn.LazyLinear(2)), tmp_path / "c.pt")


class Runs:
    """Its pickle makes a folder."""

    def __init__(self, function, *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("wrap", [lambda evil, tensors: evil, lambda evil, tensors: {"state_dict": tensors, "x": evil}])
@pytest.mark.parametrize("save", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what))])
def test_no_pickled_code_is_run(tmp_path: Path, wrap, save) -> None:
    for evil in (
        Runs(os.mkdir, str(tmp_path / "made")),
        Runs(eval, f"__import__('os').mkdir({str(tmp_path / 'made')!r})"),
    ):
        save(wrap(evil, small_net().state_dict()), tmp_path / "c.pt")
        with pytest.raises(CheckpointError, match="plain tensors"):
            load_checkpoint(small_net(), tmp_path / "c.pt")
        assert not (tmp_path / "made").exists()


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.trace(_method)?` is deprecated:FutureWarning")
def test_what_needs_code_is_told_what_it_is(tmp_path: Path) -> None:
    path, images = tmp_path / "c.pt", torch.zeros(1, 1, 4, 4)
    torch.save({"model": small_net(), "epoch": 3}, path)
    with pytest.raises(CheckpointError, match=r"a whole network .* save the tensors alone: torch\.save"):
        load_checkpoint(small_net(), path)
    torch.save({"state_dict": small_net().state_dict(), "config": small_net}, path)
    with pytest.raises(CheckpointError, match=r"holds objects \(.*small_net\), not plain tensors"):
        load_checkpoint(small_net(), path)
    torch.jit.trace(small_net().eval(), images).save(path)
    with pytest.raises(CheckpointError, match=r"TorchScript archive; .*torch\.jit\.load"):
        load_checkpoint(small_net(), path)
    torch.export.save(torch.export.export(small_net().eval(), (images,)), path.with_suffix(".pt2"))
    with pytest.raises(CheckpointError, match=r"exported program; .*torch\.export\.load"):
        load_checkpoint(small_net(), path.with_suffix(".pt2"))


def pickled_values() -> st.SearchStrategy[object]:
    source = small_net().state_dict()
    leaves = st.one_of(
        st.none(),
        st.integers(),
        st.text(max_size=3),
        st.just(np.float32(1)),
        st.just(argparse.Namespace(a=1)),
        st.sampled_from([source, prefixed("module.", source), prefixed("ema.", source), {}]),
        st.sampled_from(
            [torch.zeros(2), torch.tensor(1 + 2j), torch.eye(2).to_sparse(), torch.empty(2, device="meta")]
        ),
    )
    keys = st.sampled_from(["state_dict", "model", "ema", "0.weight", "", 3, "module.0.weight"])
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=pickled_values())
def test_any_values_load_whole_or_not_at_all(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "c.pt")
    model = small_net()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    try:
        load_checkpoint(model, tmp_path / "c.pt")
    except CheckpointError:
        assert same(model.state_dict(), before)
    else:
        assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])


@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_safetensors_file_is_an_error_or_loads_whole(
    tmp_path_factory: pytest.TempPathFactory, place: float, change: int
) -> None:
    path, source = tmp_path_factory.mktemp("flipped") / "c.safetensors", small_net()
    save_file(source.state_dict(), path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= change
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):  # the format has no checksums: another number is another file
        load_checkpoint(small_net(), path)


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


def test_an_archive_on_several_disks_is_damaged(tmp_path: Path) -> None:
    save_checkpoint(small_net(), tmp_path / "c.pt")
    content = bytearray((tmp_path / "c.pt").read_bytes())
    content[content.rindex(b"PK\x06\x07") + 4] ^= 1  # the disk that the directory is on
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        load_checkpoint(small_net(), tmp_path / "c.pt")


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
