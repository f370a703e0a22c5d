"""Where the images of each data set come from: memory or files, as uint8 pixels with labels."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amc_hw.data.labels import strata
from amc_hw.data.pixels import common_size, read_pixels
from amc_hw.errors import UsageError
from amc_hw.runs.cache import cache_folder


class Images(Protocol):
    """Images that can be asked for by position."""

    def read(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """For each batch of positions (n,) yield the images (n, H, W, C), uint8."""


@dataclass(frozen=True)
class Labelled:
    """Images and their labels; see `amc_hw.data.labels`."""

    images: Images
    labels: Tensor


@dataclass(frozen=True)
class Source:
    """A data set as it is found: `image_size` is (C, H, W)."""

    image_size: tuple[int, int, int]
    train: Labelled
    test: Labelled


@dataclass(frozen=True)
class InMemory:
    """Pixels (N, H, W, C), uint8."""

    pixels: Tensor

    def read(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Index the pixels."""
        return (self.pixels[batch] for batch in batches)


@dataclass(frozen=True)
class Files:
    """Image files, decoded when asked for: short side scaled to size / 0.875, then the centre cut out."""

    paths: tuple[str, ...]
    size: int

    def read(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Decode in threads (Pillow works outside Python's lock), two batches ahead."""
        pool = ThreadPoolExecutor(os.cpu_count())
        ahead: deque[Iterator[Tensor]] = deque()
        try:
            for batch in batches:
                ahead.append(pool.map(self._decode, [self.paths[i] for i in batch.tolist()]))
                if len(ahead) > 2:
                    yield torch.stack(list(ahead.popleft()))
            while ahead:
                yield torch.stack(list(ahead.popleft()))
        finally:
            pool.shutdown(cancel_futures=True)

    def _decode(self, path: str) -> Tensor:
        from PIL import Image, ImageOps

        image = read_pixels(path)
        if image.size != (self.size, self.size):
            ratio = round(self.size / 0.875) / min(image.size)
            image = ImageOps.scale(image, ratio, Image.Resampling.BILINEAR)
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image))


def stratified(labels: Tensor, count: int) -> Tensor:
    """Return a mask that marks `count` images, spread over the classes in proportion; always the same."""
    labels = strata(labels)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[by_class[(2 * torch.arange(count) + 1) * len(labels) // (2 * max(count, 1))]] = True
    return mask


def digits() -> Source:
    """Return scikit-learn's 1,797 digits, enlarged from 8x8 to 32x32; a fifth is the test set."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] * (255 / 16)
    pixels = F.interpolate(small, size=32, mode="bilinear").round().to(torch.uint8).permute(0, 2, 3, 1)
    labels = torch.from_numpy(bunch.target).long()
    test = stratified(labels, len(labels) // 5)
    parts = [Labelled(InMemory(pixels[mask].contiguous()), labels[mask]) for mask in (~test, test)]
    return Source((1, 32, 32), *parts)


def cifar10(root: Path | None) -> Source:
    """Read torchvision's layout, cifar-10-batches-py in `root`, after a download where that is missing."""
    from torchvision.datasets import CIFAR10

    folder = root or cache_folder("data")
    try:
        # torchvision unpickles these files only after it found their MD5 sums right.
        sets = [CIFAR10(folder, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"cannot download cifar10 to {folder} ({error}); unpack cifar-10-python.tar.gz into a folder "
            "and name that folder as data_root=DIR."
        ) from error
    parts = [Labelled(InMemory(torch.from_numpy(each.data)), torch.tensor(each.targets)) for each in sets]
    return Source((3, 32, 32), *parts)


def image_folder(folder: Path, size: int | None, otherwise: int | None) -> Source:
    """Read train/ and test/ or val/, each with one folder a class; images are decoded at size x size.

    Without a size, it is the files' own where all of them are squares of one size, or else ``otherwise``.

    Raises:
        UsageError: folders or images are missing or damaged, or there is no size.
    """
    from torchvision.datasets import ImageFolder

    test_folder = folder / "test" if (folder / "test").is_dir() else folder / "val"
    try:
        train, test = ImageFolder(folder / "train"), ImageFolder(test_folder)
    except OSError as error:
        raise UsageError(
            f"{folder} needs the folders train and test (or val), each with one folder of images "
            f"for every class ({error})."
        ) from error
    if train.classes != test.classes:
        lonely = ", ".join(sorted({*train.classes} ^ {*test.classes})[:5])
        raise UsageError(f"{folder}: only one of train and {test_folder.name} has the classes {lonely}.")
    paths = [[path for path, _ in each.samples] for each in (train, test)]
    side = size or _own_side(paths) or otherwise
    if side is None:
        raise UsageError(
            f"the images of {folder} are no squares of one size, and it is not known which size the network was "
            "trained for; give it as image_size= (224 is the most common one)."
        )
    parts = [
        Labelled(Files(tuple(files), side), torch.tensor(each.targets))
        for files, each in zip(paths, (train, test), strict=True)
    ]
    return Source((3, side, side), *parts)


def _own_side(parts: Sequence[Sequence[str]]) -> int | None:
    """Return the side in pixels of the image files where all of them are squares of one size."""
    found = {common_size(paths) for paths in parts}
    height, width = found.pop() or (0, 1)
    return height if height == width and not found else None


def npz(folder: Path) -> Source:
    """Read train.npz and test.npz, each with images (N, H, W, C), uint8, and integer labels (N,) or 0 and 1 (N, L)."""
    (pixels, labels), (test_pixels, test_labels) = (_read_npz(folder / f"{part}.npz") for part in ("train", "test"))
    if pixels.shape[1:] != test_pixels.shape[1:]:
        shapes = " and ".join("x".join(map(str, each.shape[1:])) for each in (pixels, test_pixels))
        raise UsageError(f"{folder}: the images of train.npz and test.npz differ in shape, {shapes}.")
    if labels.ndim == 2 or test_labels.ndim == 2:
        _require_labels(folder, labels, test_labels)
    elif labels.min() != 0 or labels.max() >= len(labels):
        raise UsageError(
            f"{folder}/train.npz: labels go from {labels.min()} to {labels.max()} for {len(labels)} images; "
            "number the classes from 0 without gaps."
        )
    elif test_labels.max() > labels.max():
        raise UsageError(f"{folder}/test.npz: label {test_labels.max()} does not occur in train.npz.")
    height, width, channels = pixels.shape[1:]
    kind = np.float32 if labels.ndim == 2 else np.int64
    parts = [
        Labelled(InMemory(torch.from_numpy(images)), torch.from_numpy(numbers.astype(kind)))
        for images, numbers in ((pixels, labels), (test_pixels, test_labels))
    ]
    return Source((channels, height, width), *parts)


def _require_labels(folder: Path, labels: Any, test_labels: Any) -> None:
    """Raise UsageError where an image's labels (N, L) in two parts do not belong together, or one tells nothing."""
    if labels.shape[1:] != test_labels.shape[1:]:
        raise UsageError(
            f"{folder}: the labels of train.npz are {labels.shape} and those of test.npz {test_labels.shape}; write "
            "both as (N,) with one class for an image, or as (N, labels) of 0 and 1."
        )
    for part, each in (("train", labels), ("test", test_labels)):
        alike = [int(column) for column in np.flatnonzero(each.min(0) == each.max(0))]
        if alike:
            raise UsageError(
                f"{folder}/{part}.npz: label {alike[0]} is {int(each[0, alike[0]])} for every image, so nothing can be "
                "told of it; leave its column out of both files, or add images."
            )


def _read_npz(path: Path) -> tuple[Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = np.asarray(file["images"]), np.asarray(file["labels"])
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing; npz data are train.npz and test.npz in one folder.") from error
    except KeyError as error:
        raise UsageError(f"{path} needs the arrays 'images' and 'labels'; {error.args[0]}.") from error
    except Exception as error:  # a damaged zip file makes numpy raise almost anything
        raise UsageError(f"cannot read {path} ({error}); write it again with numpy.savez.") from error
    found = f"{images.dtype} {images.shape}"
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape or images.shape[3] not in (1, 3):
        raise UsageError(
            f"{path}: images must be uint8 (N, H, W, C) with 1 or 3 channels, not {found}; "
            "scale them to 0..255 and save them so."
        )
    found = f"{labels.dtype} {labels.shape}"
    several = labels.ndim == 2 and labels.dtype.kind in "biu" and 0 not in labels.shape
    if several and len(labels) == len(images):
        if labels.min() < 0 or labels.max() > 1:
            raise UsageError(
                f"{path}: labels (images, labels) must be 0 and 1, not from {labels.min()} to {labels.max()}; one "
                "class for an image is written as (images,)."
            )
        return images, labels
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise UsageError(
            f"{path}: labels must be {len(images)} integers, not {found}; several labels for an image are 0 and 1, "
            f"integers ({len(images)}, labels)."
        )
    if labels.min() < 0:
        raise UsageError(f"{path}: label {labels.min()} is negative; number the classes from 0.")
    return images, labels
