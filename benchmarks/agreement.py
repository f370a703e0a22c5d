"""Whether what fine-tuning trained computes as the file that shipped: on how many test images the two say the same.

    python benchmarks/agreement.py RUN [RUN ...]

Each run is a finished one, of a precision that is simulated (int8, int16x8), for TFLite or ONNX.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from amc_hw.formats.registry import load_file
from amc_hw.pipeline.begin import open_trained
from amc_hw.pipeline.load import restore
from amc_hw.runs.folder import RunFolder
from amc_hw.tasks.classification import EVALUATION_BATCH


def agreement(folder: Path) -> tuple[float, float, float, int]:
    """Return the shares of test images on which both say the same, which the file and the training network get right,
    and how many images there are."""
    run = RunFolder(folder)
    _, trained = open_trained(folder)
    file = load_file(next(path for path in map(run.model, ("tflite", "onnx")) if path.exists()))
    simulated = trained.as_shipped(restore(run, trained, run.finetuned)).eval()
    same = file_right = simulated_right = 0
    for images, labels in trained.data.test.batches(EVALUATION_BATCH):
        with torch.inference_mode():
            ours = simulated(images).argmax(1)
        theirs = torch.from_numpy(file(images.numpy())).flatten(1).argmax(1)
        same += int((ours == theirs).sum())
        file_right += int((theirs == labels).sum())
        simulated_right += int((ours == labels).sum())
    count = len(trained.data.test)
    return same / count, file_right / count, simulated_right / count, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    torch.set_num_threads(1)
    print("| run | the same class | top-1 of the file | of the training network | test images |\n|---|---|---|---|---|")
    for folder in parser.parse_args().runs:
        same, file, simulated, count = agreement(folder)
        print(f"| {folder.name} | {same:.2%} | {file:.2%} | {simulated:.2%} | {count} |", flush=True)


if __name__ == "__main__":
    main()
