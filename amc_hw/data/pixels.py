"""Pixels of image files of every kind as 8-bit colour, the darkest black and the brightest white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from amc_hw.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_HEADERS = 1000
"""Files whose sizes are looked at; where all of them agree, all others are taken to."""

_LONG_GREY = ("PNG", "PPM")
"""Formats whose grey of more than 8 bits some versions of Pillow open as 32-bit integers from 0 to 65535."""

_T = TypeVar("_T")


def read_pixels(path: str) -> Image:
    """Read an image file as 8-bit RGB.

    Transparency is dropped, as torchvision's loader does it, but where it is the picture: where all colours of
    a file are alike, it is laid over black, or over white if its colour is dark.

    Raises:
        UsageError: the file is damaged or no image, or it is not known which of its numbers are black and white.
    """
    return _read_image(path, lambda image: _rgb(image, path))


def common_size(paths: Sequence[str]) -> tuple[int, int] | None:
    """Return the height and width that all image files have, or None where they differ.

    Of many files, `MOST_HEADERS` that are spread evenly are looked at.

    Raises:
        UsageError: a file is damaged or no image.
    """
    several = paths[:: -(-len(paths) // MOST_HEADERS)]
    found = None
    for path in several:
        width, height = _read_image(path, lambda image: image.size)
        if found not in (None, (height, width)):
            return None
        found = height, width
    return found


def _read_image(path: str, read: Callable[[Image], _T]) -> _T:
    from PIL import Image

    try:
        with Image.open(path) as file:
            return read(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"cannot read the image {path} ({error}); replace or remove it.") from error


def _rgb(image: Image, path: str) -> Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _LONG_GREY):
        return _grey(np.asarray(image) / 65535)
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        if image.mode == "F" and values.min() >= 0 and values.max() <= 1:  # false for NaN, too
            return _grey(values)
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UsageError(
            f"{path} has {kind} pixels from {values.min():g} to {values.max():g}, which do not say what is black and "
            "what is white; save it with 8 or 16 bits a pixel, or as floating-point numbers from 0 to 1."
        )
    if image.has_transparency_data:
        return _without_transparency(image)
    return image.convert("RGB")


def _grey(values: np.ndarray) -> Image:
    """Return an image of values (H, W) from 0 to 1."""
    from PIL import Image

    return Image.fromarray(np.rint(255 * values).astype(np.uint8)).convert("RGB")


def _without_transparency(image: Image) -> Image:
    from PIL import Image

    full = image.convert("RGBA")
    values = np.asarray(full).reshape(-1, 4)
    varies = values.min(0) != values.max(0)
    if varies[:3].any() or not varies[3]:
        return image.convert("RGB")
    ground = "black" if values[0, :3].mean() > 127 else "white"
    return Image.alpha_composite(Image.new("RGBA", full.size, ground), full).convert("RGB")
