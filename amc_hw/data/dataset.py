"""Data sets: training images, the split that the search scores on, and the test set, in batches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from amc_hw.data import sources as data_sources
from amc_hw.data.labels import count_of, is_multi_label
from amc_hw.data.names import require_data
from amc_hw.data.sources import Images, InMemory, Labelled, Source, stratified
from amc_hw.errors import UsageError

_LOG = logging.getLogger(__name__)

_SEARCH_IMAGES = 5000
_LOOKED_AT = 64  # images, before anything is believed of the others
_DIGESTED = 64  # images, beside all labels
_DARK = 32  # of 255: no picture that was meant to be seen is as dark as that everywhere
_FOLDER_SIZE = 224
_MOST_BYTES = 2 * 2**30  # of pixels that are moved to a GPU as a whole
# Of pixels scaled to 0..1, by the number of channels; colour is ImageNet's.
_MEAN_STD = {1: ((0.5,), (0.5,)), 3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}


@dataclass(frozen=True)
class Part:
    """Some images of a data set with their labels.

    Attributes:
        images: the source that holds them.
        positions: their places in the source, int64 (n,).
        labels: their classes, int64 (n,), or several labels, float32 (n, labels); see `amc_hw.data.labels`.
        mean: per channel, of pixels scaled to 0..1.
        std: per channel, of pixels scaled to 0..1.
    """

    images: Images
    positions: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.positions)

    def batches(
        self,
        batch_size: int,
        augment: bool = False,
        generator: torch.Generator | None = None,
        shuffle: bool = False,
        device: str | torch.device = "cpu",
        share: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images (n, C, H, W), float32, and their labels; the last batch may be small.

        Shuffled, which is for training, they are of `batch_sizes`.

        `generator` (on the CPU) decides order and augmentation. `share` picks those of a batch's images that this
        process reads.
        """
        order = torch.randperm(len(self), generator=generator) if shuffle else torch.arange(len(self))
        sizes: int | list[int] = self.batch_sizes(batch_size) if shuffle else batch_size
        batches = torch.split(order.to(self.positions.device), sizes)
        chosen = [index if share is None else share(index) for index in batches]
        read = self.images.read(self.positions[index] for index in chosen)
        for index, images in zip(chosen, read, strict=True):
            pixels = augmented(images, generator) if augment else images
            yield self._normalised(pixels.to(device)), self.labels[index].to(device)

    def batch_sizes(self, batch_size: int) -> list[int]:
        """Return how many images the batches of a training have: no single one is left over, for batch norm's sake."""
        whole, rest = divmod(len(self), batch_size)
        sizes = [batch_size] * whole
        if rest == 1 and whole:
            sizes[-1] += 1
        elif rest:
            sizes.append(rest)
        return sizes

    def first(self, n: int, seed: int, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
        """Return `n` images (all, where there are fewer) and their labels, drawn without replacement."""
        index = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:n]
        images = next(self.images.read([self.positions[index]]))
        return self._normalised(images.to(device)), self.labels[index].to(device)

    @cached_property
    def digest(self) -> str:
        """The sha256 of all labels and some of the images, as a network is given them."""
        found = hashlib.sha256(self.labels.cpu().numpy().tobytes())
        found.update(self.first(_DIGESTED, 0)[0].cpu().numpy().tobytes())
        return found.hexdigest()

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = (255 * torch.tensor(value, device=images.device) for value in (self.mean, self.std))
        normalised = images.float().sub_(mean).div_(std).permute(0, 3, 1, 2)
        return normalised.clone(memory_format=torch.contiguous_format)  # contiguous() keeps one channel's strides


@dataclass(frozen=True)
class Data:
    """A data set; what searches is handed `train` and `search` only, so that it cannot see `test`.

    `image_size` is (C, H, W); `num_classes` counts the scores of a network: classes, or labels that an image may have;
    `mean` and `std` are per channel, of pixels scaled to 0..1.
    """

    name: str
    image_size: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Part
    search: Part
    test: Part

    def with_search_learned(self) -> Data:
        """Return the data with the validation split among the training images, for when nothing is chosen any more."""
        train, search = self.train, self.search
        positions, labels = torch.cat([train.positions, search.positions]), torch.cat([train.labels, search.labels])
        return replace(self, train=replace(train, positions=positions, labels=labels))

    def on(self, device: torch.device) -> Data:
        """Return the data with everything on a device that fits there (2 GiB of pixels), shared pixels once.

        Files are read a batch at a time, wherever their images go.
        """
        moved: dict[int, InMemory] = {}

        def part(part: Part) -> Part:
            images = part.images
            if not isinstance(images, InMemory) or images.pixels.nbytes > _MOST_BYTES:
                return part
            if id(images) not in moved:
                moved[id(images)] = InMemory(images.pixels.to(device))
            there = moved[id(images)]
            return replace(part, images=there, positions=part.positions.to(device), labels=part.labels.to(device))

        return replace(self, train=part(self.train), search=part(self.search), test=part(self.test))


def load_data(
    name: str, root: Path | None = None, size: int | None = None, otherwise: int | None = _FOLDER_SIZE
) -> Data:
    """Load a data set by name; its splits are always the same.

    Args:
        name: ``digits``, ``cifar10``, ``imagenet``, ``imagefolder:DIR`` or ``npz:DIR``.
        root: the folder of cifar10 (holds cifar-10-batches-py) or of imagenet (holds train and val).
        size: side in pixels at which imagenet and imagefolder are decoded; by default that of the files, where all
            are squares of one size. The images of the other sets keep their own.
        otherwise: the side where there is no such size; None asks for one.

    Raises:
        UsageError: an unknown name, files that are missing, damaged or do not belong together, images that are
            all alike, or a size that is asked for.
    """
    source = _source(name, root, size, otherwise)
    labels = source.train.labels
    if len(labels) < 10:
        raise UsageError(f"'{name}' has {len(labels)} training images; at least 10 are needed.")
    if not is_multi_label(labels) and len(torch.unique(labels)) < 2:
        raise UsageError(
            f"all training images of '{name}' are of one class, so that any network is right; give others."
        )
    _require_pictures(name, source.train)
    mean, std = _MEAN_STD[source.image_size[0]]
    search = stratified(labels, min(_SEARCH_IMAGES, len(labels) // 10))

    def part(labelled: Labelled, mask: Tensor) -> Part:
        return Part(labelled.images, mask.nonzero().flatten(), labelled.labels[mask], mean, std)

    return Data(
        name=name,
        image_size=source.image_size,
        num_classes=count_of(labels),
        mean=mean,
        std=std,
        train=part(source.train, ~search),
        search=part(source.train, search),
        test=part(source.test, torch.ones(len(source.test.labels), dtype=torch.bool)),
    )


def has_own_size(name: str) -> bool:
    """Tell whether the images of a data set have a size that cannot be chosen."""
    return name != "imagenet" and not name.startswith("imagefolder:")


def _require_pictures(name: str, part: Labelled) -> None:
    """Look at some images: refuse a set in which all are alike, and warn where all are nearly black."""
    some = torch.arange(0, len(part.labels), -(-len(part.labels) // _LOOKED_AT))
    pixels = next(iter(part.images.read([some])))
    if (pixels == pixels[0]).all():
        low, high = int(pixels.min()), int(pixels.max())
        values = f"every pixel is {low} of 255" if low == high else "the same picture again and again"
        raise UsageError(
            f"{len(pixels)} images of '{name}' are all alike ({values}), so nothing can be learned from them; "
            "look at the files, and write the images again in 8 bits a channel."
        )
    if pixels.max() < _DARK:
        _LOG.warning(
            "the images of '%s' are nearly black (no pixel of %d images is above %d of 255); if they were not meant "
            "so, scale their values to the whole range",
            name,
            len(pixels),
            int(pixels.max()),
        )


def augmented(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Shift each image (n, H, W, C) by up to an eighth of its side, and mirror half of them if in colour.

    The shift is the usual random crop after padding with black: 4 pixels for 32x32. Images of one channel are
    taken for digits, which a mirror would change. Chance is the generator's, on the CPU, wherever the images are.
    """
    n, height, width, channels = images.shape
    place = images.device
    pad_y, pad_x = height // 8, width // 8
    padded = F.pad(images, (0, 0, pad_x, pad_x, pad_y, pad_y))
    down, right = (torch.randint(2 * pad + 1, (n, 1), generator=generator).to(place) for pad in (pad_y, pad_x))
    rows, columns = down + torch.arange(height, device=place), right + torch.arange(width, device=place)
    if channels == 3:
        mirrored = torch.randint(2, (n, 1), generator=generator).bool().to(place)
        columns = torch.where(mirrored, columns.flip(1), columns)
    return padded[torch.arange(n, device=place)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _source(name: str, root: Path | None, size: int | None, otherwise: int | None) -> Source:
    require_data(name, root)
    kind, _, folder = name.partition(":")
    if kind == "digits":
        return data_sources.digits()
    if kind == "cifar10":
        return data_sources.cifar10(root)
    if kind == "npz":
        return data_sources.npz(Path(folder).expanduser())
    return data_sources.image_folder(Path(folder).expanduser() if folder or root is None else root, size, otherwise)
