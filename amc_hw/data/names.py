"""The names of data sets, to be checked before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from amc_hw.errors import UsageError, unknown_name

NAMES = ("digits", "cifar10", "imagenet", "imagefolder:DIR", "npz:DIR")


def require_data(name: str, root: Path | None = None) -> None:
    """Raise UsageError where there is no such data set, or its folders or files are missing.

    Args:
        name: of the data set.
        root: the folder of cifar10 or imagenet.
    """
    kind, colon, folder = name.partition(":")
    if root is not None and root.exists() and not root.is_dir():
        raise UsageError(f"data_root={root} is a file; name a folder.")
    if kind == "imagefolder" and folder:
        _require_image_folder(Path(folder).expanduser())
    elif kind == "npz" and folder:
        for part in ("train", "test"):
            if not (path := Path(folder).expanduser() / f"{part}.npz").exists():
                raise UsageError(f"{path} is missing; npz data are train.npz and test.npz in one folder.")
    elif colon or name not in NAMES:
        raise unknown_name("data", name, NAMES, "data")
    elif name == "imagenet":
        if root is None:
            raise UsageError("imagenet cannot be downloaded; name the folder of train and val as data_root=DIR.")
        _require_image_folder(root)


def _require_image_folder(folder: Path) -> None:
    if not (folder / "train").is_dir() or not any((folder / part).is_dir() for part in ("test", "val")):
        raise UsageError(
            f"{folder} needs the folders train and test (or val), each with one folder of images for every class."
        )
