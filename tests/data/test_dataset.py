from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from amc_hw.data import sources as data_sources
from amc_hw.data.dataset import Data, augmented, load_data
from amc_hw.data.sources import stratified
from amc_hw.errors import UsageError


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


def write_npz(folder: Path, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    np.savez(folder / f"{part}.npz", images=images, labels=labels)


def random_npz(folder: Path, channels: int = 3, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 8, 16, channels), dtype=np.uint8)
    labels = np.arange(count) % 3
    write_npz(folder, "train", images, labels)
    write_npz(folder, "test", images[:7], labels[:7])
    return images, labels


def test_digits_parts(digits: Data) -> None:
    assert (digits.image_size, digits.num_classes) == ((1, 32, 32), 10)
    assert (len(digits.train), len(digits.search), len(digits.test)) == (1295, 143, 359)
    assert len(digits.search) <= (len(digits.train) + len(digits.search)) // 10
    assert not set(digits.train.positions.tolist()) & set(digits.search.positions.tolist())
    assert digits.test.images is not digits.train.images
    for part in (digits.train, digits.search, digits.test):
        shares = part.labels.bincount() / len(part)
        assert ((shares - 0.1).abs() < 0.02).all()


def test_the_search_split_can_be_learned_at_the_end(digits: Data) -> None:
    whole = digits.with_search_learned()
    label = dict(zip(whole.train.positions.tolist(), whole.train.labels.tolist(), strict=True))
    assert len(whole.train) == len(label) == len(digits.train) + len(digits.search)
    for part in (digits.train, digits.search):
        assert [label[position] for position in part.positions.tolist()] == part.labels.tolist()
    assert whole.search is digits.search
    assert whole.test is digits.test


def test_digits_look_like_digits(digits: Data) -> None:
    images, labels = next(digits.test.batches(359))
    assert images.shape == (359, 1, 32, 32)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.min() == -1
    assert images.max() == 1
    train, train_labels = next(digits.train.batches(2000))
    nearest = torch.cdist(images.flatten(1), train.flatten(1)).argmin(1)
    assert (train_labels[nearest] == labels).float().mean() > 0.97


def test_splits_are_always_the_same(digits: Data) -> None:
    again = load_data("digits")
    assert torch.equal(again.search.positions, digits.search.positions)
    assert torch.equal(again.test.labels, digits.test.labels)


@settings(max_examples=50, deadline=None)
@given(classes=st.lists(st.integers(0, 5), min_size=1, max_size=200), share=st.floats(0, 1))
def test_stratified_keeps_the_proportions(classes: list[int], share: float) -> None:
    labels = torch.tensor(classes)
    count = int(share * len(labels))
    mask = stratified(labels, count)
    assert mask.sum() == count
    expected = labels.bincount() * count / len(labels)
    assert ((labels[mask].bincount(minlength=len(expected)) - expected).abs() < 1 + 1e-6).all()


def test_images_of_one_class_are_refused(tmp_path: Path) -> None:
    images, labels = random_npz(tmp_path)
    for part in ("train", "test"):
        write_npz(tmp_path, part, images, np.zeros_like(labels))
    with pytest.raises(UsageError, match="are of one class, so that any network is right"):
        load_data(f"npz:{tmp_path}")


def test_npz_is_normalised_and_in_order(tmp_path: Path) -> None:
    images, labels = random_npz(tmp_path)
    data = load_data(f"npz:{tmp_path}")
    assert (data.name, data.image_size, data.num_classes) == (f"npz:{tmp_path}", (3, 8, 16), 3)
    assert (len(data.train), len(data.search), len(data.test)) == (54, 6, 7)
    batches = list(data.test.batches(4))
    assert [len(each) for each, _ in batches] == [4, 3]
    expected = (images[:7] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    found = torch.cat([each for each, _ in batches])
    assert found.is_contiguous()
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected, atol=1e-5)
    assert torch.cat([each for _, each in batches]).tolist() == labels[:7].tolist()


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_npz(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert len(load_data(f"npz:~/{tmp_path.name}").test) == 7
    with pytest.raises(UsageError, match=f"{tmp_path.parent}/nowhere needs the folders"):
        load_data("imagefolder:~/nowhere")


def test_every_training_image_is_in_exactly_one_part(tmp_path: Path) -> None:
    images, _ = random_npz(tmp_path)
    images[:, 0, 0, 0] = np.arange(60)
    write_npz(tmp_path, "train", images, np.arange(60) % 3)
    data = load_data(f"npz:{tmp_path}")
    marks = []
    for part in (data.train, data.search):
        for batch, labels in part.batches(16, shuffle=True):
            mark = ((batch[:, 0, 0, 0] * 0.229 + 0.485) * 255).round().long()
            assert torch.equal(mark % 3, labels)
            marks += mark.tolist()
    assert sorted(marks) == list(range(60))


def test_shuffling_and_augmentation_follow_the_generator(digits: Data) -> None:
    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return next(digits.train.batches(32, augment=True, generator=generator, shuffle=True))[0]

    global_state = torch.get_rng_state()
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), global_state)


@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_shifts_and_mirrors_colour_only(channels: int) -> None:
    image = torch.zeros(1, 32, 32, channels, dtype=torch.uint8)
    image[0, 10, 6] = 200
    places = set()
    for each in augmented(image.repeat(500, 1, 1, 1), torch.Generator().manual_seed(0)):
        (place,) = each[:, :, 0].nonzero().tolist()
        assert (each[tuple(place)] == 200).all()
        places.add(tuple(place))
    rows, columns = ({each[axis] for each in places} for axis in (0, 1))
    assert rows == set(range(6, 15))
    mirrored = set(range(31 - 10, 31 - 1)) if channels == 3 else set()
    assert columns == set(range(2, 11)) | mirrored


def test_first_is_a_seeded_subset(digits: Data) -> None:
    images, labels = digits.train.first(20, seed=3)
    assert images.shape == (20, 1, 32, 32)
    assert torch.equal(digits.train.first(20, seed=3)[0], images)
    assert not torch.equal(digits.train.first(20, seed=4)[0], images)
    assert len(labels.unique()) > 3
    assert len(digits.search.first(10_000, seed=0)[0]) == 143


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "did you mean 'digits'"),
        ("npz", "did you mean 'npz:DIR'"),
        ("imagefolder:", "did you mean 'imagefolder:DIR'"),
        ("imagenet", "data_root=DIR"),
        ("npz:/no/such/folder", "train.npz is missing"),
        ("imagefolder:/no/such/folder", "needs the folders train and test"),
    ],
)
def test_wrong_names(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_data(name)


@pytest.mark.parametrize(
    ("part", "images", "labels", "message"),
    [
        ("train", np.zeros((60, 8, 16, 3)), np.zeros(60, int), "uint8 .* not float64"),
        ("train", np.zeros((60, 8, 16), np.uint8), np.zeros(60, int), "not uint8 .60, 8, 16."),
        ("train", np.zeros((60, 3, 8, 16), np.uint8), np.zeros(60, int), "1 or 3 channels"),
        ("test", np.zeros((0, 8, 16, 3), np.uint8), np.zeros(0, int), "1 or 3 channels"),
        ("train", np.zeros((60, 8, 16, 3), np.uint8), np.zeros(59, int), "60 integers, not int64 .59,."),
        ("train", np.zeros((60, 8, 16, 3), np.uint8), np.zeros(60), "60 integers, not float64"),
        ("train", np.zeros((60, 8, 16, 3), np.uint8), np.arange(60) - 1, "label -1 is negative"),
        ("train", np.zeros((60, 8, 16, 3), np.uint8), np.arange(60) + 1, "from 1 to 60"),
        ("train", np.zeros((60, 8, 16, 3), np.uint8), np.arange(60) * 1000, "from 0 to 59000"),
        ("train", np.zeros((5, 8, 16, 3), np.uint8), np.arange(5), "5 training images"),
        ("test", np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, int), "8x16x3 and 8x8x3"),
        ("test", np.zeros((4, 8, 16, 3), np.uint8), np.array([0, 1, 2, 9]), "label 9"),
        ("test", np.zeros((4, 8, 16, 3), np.uint8), np.array([None] * 4), "cannot read .*test.npz"),
        ("train", np.zeros((60, 8, 16, 3), np.uint8), np.eye(60, 3, dtype=int), "(60, 3).*those of test.npz"),
        ("train", np.zeros((60, 8, 16, 3), np.uint8), np.full((60, 3), 2), "must be 0 and 1, not from 2 to 2"),
        (
            "train",
            np.zeros((60, 8, 16, 3), np.uint8),
            np.zeros((59, 3), int),
            "several labels for an image are 0",
        ),
    ],
)
def test_wrong_arrays(tmp_path: Path, part: str, images: np.ndarray, labels: np.ndarray, message: str) -> None:
    random_npz(tmp_path)
    write_npz(tmp_path, part, images, labels)
    with pytest.raises(UsageError, match=message):
        load_data(f"npz:{tmp_path}")


def test_npz_without_the_arrays(tmp_path: Path) -> None:
    random_npz(tmp_path)
    np.savez(tmp_path / "test.npz", x=np.zeros(3))
    with pytest.raises(UsageError, match="needs the arrays 'images' and 'labels'"):
        load_data(f"npz:{tmp_path}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_npz_files_give_a_clear_error(tmp_path: Path, data: st.DataObject) -> None:
    random_npz(tmp_path, count=12)
    content = bytearray((tmp_path / "train.npz").read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for place in data.draw(st.lists(st.integers(0, 10_000), max_size=5)):
        if content:
            content[place % len(content)] ^= data.draw(st.integers(1, 255))
    (tmp_path / "train.npz").write_bytes(content)
    with contextlib.suppress(UsageError):  # pixels may have changed unseen; nothing else may be raised
        load_data(f"npz:{tmp_path}")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=hnp.arrays(st.sampled_from([np.uint8, np.int16]), hnp.array_shapes(min_dims=1, max_dims=5, max_side=12)),
    labels=hnp.arrays(st.sampled_from([np.int64, np.uint8, np.float32]), hnp.array_shapes(max_dims=2, max_side=12)),
)
def test_any_arrays_load_or_give_a_clear_error(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    for part in ("train", "test"):
        write_npz(tmp_path, part, images, labels)
    try:
        data = load_data(f"npz:{tmp_path}")
    except UsageError:
        return
    assert int(data.train.labels.max()) < data.num_classes <= len(images)


def image_folder(folder: Path, test: str = "val", classes: str = "ab") -> None:
    """Colourful stripes: class a is red on the left, class b on the right."""
    for part, count in (("train", 12), (test, 3)):
        for number, label in enumerate(classes):
            (folder / part / label).mkdir(parents=True)
            for i in range(count):
                pixels = np.zeros((40, 60 + i, 3), np.uint8)
                half = slice(0, 30) if number == 0 else slice(30, None)
                pixels[:, half, 0] = 255
                Image.fromarray(pixels).save(folder / part / label / f"{i}.png")


@pytest.mark.parametrize("test", ["test", "val"])
def test_image_folder(tmp_path: Path, test: str) -> None:
    image_folder(tmp_path, test)
    data = load_data(f"imagefolder:{tmp_path}", size=32)
    assert (data.image_size, data.num_classes) == ((3, 32, 32), 2)
    assert (len(data.train), len(data.search), len(data.test)) == (22, 2, 6)
    for part in (data.train, data.search, data.test):
        for images, labels in part.batches(4):
            left_is_red = images[:, 0, 16, 2] > images[:, 0, 16, -3]
            assert torch.equal(left_is_red, labels == 0)
    assert load_data("imagenet", root=tmp_path).image_size == (3, 224, 224)


def test_an_image_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (found,) = data_sources.Files((str(tmp_path / "a.png"),), 16).read([torch.tensor([0])])
    np.testing.assert_array_equal(found[0], pixels)


GREY = np.add.outer(np.arange(0, 160, 5), np.arange(0, 96, 3)).astype(np.uint8)
"""A ramp (32, 32) from 0 to 248, in which nothing repeats."""


def written(folder: Path, kind: str) -> Path:
    """Write the ramp as an image file of some kind."""
    path = folder / f"{kind}.{'tif' if kind in ('float', 'int32', 'grey16_tif', 'float255') else 'png'}"
    opaque, white = np.full_like(GREY, 255), np.full_like(GREY, 255)
    images = {
        "grey": lambda: Image.fromarray(GREY),
        "grey16": lambda: Image.fromarray(GREY.astype(np.uint16) * 257),
        "grey16_tif": lambda: Image.fromarray(GREY.astype(np.uint16) * 257),
        "float": lambda: Image.fromarray(GREY.astype(np.float32) / 255),
        "float255": lambda: Image.fromarray(GREY.astype(np.float32)),
        "int32": lambda: Image.fromarray(GREY.astype(np.int32)),
        "palette": lambda: Image.fromarray(GREY).convert("P"),
        "la": lambda: Image.fromarray(np.dstack([GREY, opaque]), "LA"),
        "half_clear": lambda: Image.fromarray(np.dstack([GREY, GREY, GREY, opaque // 2]), "RGBA"),
        "white_alpha": lambda: Image.fromarray(np.dstack([white, white, white, GREY]), "RGBA"),
        "black_alpha": lambda: Image.fromarray(np.dstack([white - 255, 255 - GREY]), "LA"),
    }
    images[kind]().save(path)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "grey",
        "grey16",
        "grey16_tif",
        "float",
        "palette",
        "la",
        "half_clear",
        "white_alpha",
        "black_alpha",
    ],
)
def test_every_kind_of_pixel_is_the_same_picture(tmp_path: Path, kind: str) -> None:
    (found,) = data_sources.Files((str(written(tmp_path, kind)),), 32).read([torch.tensor([0])])
    np.testing.assert_allclose(found[0].numpy(), np.dstack([GREY] * 3), atol=1)


@pytest.mark.parametrize(("kind", "says"), [("float255", "floating-point pixels from 0 to 248"), ("int32", "32-bit")])
def test_pixels_of_an_unknown_range_are_refused(tmp_path: Path, kind: str, says: str) -> None:
    path = written(tmp_path, kind)
    with pytest.raises(UsageError, match=f"{path.name} has {says}.*save it"):
        next(iter(data_sources.Files((str(path),), 32).read([torch.tensor([0])])))


@pytest.mark.parametrize("value", [0, 255])
def test_images_that_are_all_alike_are_refused(tmp_path: Path, value: int) -> None:
    images = np.full((60, 8, 8, 1), value, np.uint8)
    for part in ("train", "test"):
        write_npz(tmp_path, part, images, np.arange(60) % 2)
    with pytest.raises(UsageError, match=f"all alike .every pixel is {value} of 255"):
        load_data(f"npz:{tmp_path}")


def test_nearly_black_images_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images, labels = random_npz(tmp_path)
    load_data(f"npz:{tmp_path}")
    assert not caplog.records
    write_npz(tmp_path, "train", images // 64, labels)
    load_data(f"npz:{tmp_path}")
    assert "nearly black" in caplog.text


@pytest.mark.parametrize(("width", "side"), [(48, 48), (50, 224)])
def test_an_image_folder_has_the_size_of_its_files_where_that_is_one(tmp_path: Path, width: int, side: int) -> None:
    image_folder(tmp_path)
    for number, path in enumerate(sorted(tmp_path.rglob("*.png"))):
        Image.fromarray(np.full((48, width, 3), number, np.uint8)).save(path)
    assert load_data(f"imagefolder:{tmp_path}").image_size == (3, side, side)
    assert load_data(f"imagefolder:{tmp_path}", size=32).image_size == (3, 32, 32)
    if side != width:
        with pytest.raises(UsageError, match="give it as image_size="):
            load_data(f"imagefolder:{tmp_path}", otherwise=None)


def test_unread_batches_are_dropped_quietly(tmp_path: Path) -> None:
    image_folder(tmp_path)
    batches = load_data(f"imagefolder:{tmp_path}", size=8).train.batches(2)
    next(batches)
    batches.close()


def test_damaged_images_are_named(tmp_path: Path) -> None:
    image_folder(tmp_path)
    (tmp_path / "val" / "b" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    data = load_data(f"imagefolder:{tmp_path}", size=8)
    with pytest.raises(UsageError, match=r"1\.png .*replace or remove it"):
        list(data.test.batches(2))


def test_different_classes_are_named(tmp_path: Path) -> None:
    image_folder(tmp_path)
    (tmp_path / "val" / "a").rename(tmp_path / "val" / "c")
    with pytest.raises(UsageError, match="has the classes a, c"):
        load_data(f"imagefolder:{tmp_path}")


def test_cifar10_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(UsageError, match=r"cannot download cifar10 .*network is unreachable.*data_root=DIR"):
        load_data("cifar10", root=tmp_path)
