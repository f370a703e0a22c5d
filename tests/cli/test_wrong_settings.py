"""Every wrong setting of every command is refused at once: nothing heavy is loaded, nothing is measured or trained."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from amc_hw.runs.begun import open_run
from amc_hw.runs.config import make_config

LIMIT_S = 3.0

MODEL = (
    "--model resnet21",
    "--model mobilenet_v2_9",
    "--model timm:vit_tinny",
    "--model gone.py:net",
    "--model tests/conftest.py",
)
DATA = (
    "--data digit",
    "--data npz:gone",
    "--data imagefolder:gone",
    "--data imagenet",
    "--data cifar10 --data-root FILE",
)
DEVICE = (
    *(
        "--device hots",
        "--device host:threads=99",
        "--device host:thread=2",
        "--device ssh:box",
        "--device ssh:box:lite",
    ),
    *("--device android:core=1", "--device onnx:provider", "--device pixel9"),
)
TABLE = ("--table FILE", "--table FOLDER", "--table NEW/a/t.json", "--device android0 --table gone.json")
COMPUTE = ("--compute gpu", "--compute cuda:x", "--compute cpu:1")
SEED = ("--seed -1", "--seed one")
RUN_FOLDER = ("--run FILE", "--run OTHER", "--run NEW/a/b")
OF_A_RUN = ("", "--run", "--run gone", "--run FILE", "--run FOLDER")
BUDGETS = (
    *(
        "--latency fast",
        "--latency 12",
        "--latency 0.5",
        "--latency 3x",
        "--latency 0x",
        "--latency -1ms",
        "--latency 5MB",
        "--latency 0.001ms",
    ),
    *("--macs 0.5", "--macs 0", "--macs 1x", "--macs 5ms", "--params 0.5", "--params 3q", "--size 0.5", "--size 2ms"),
    *("--params 1", "--macs 3", "--macs 999.5", "--size 1.2"),
    *("--latency 0.5x --macs much", "--latency 0.5x --macs 0.5x --size tiny"),
)
ROUNDS = (
    *("--rounds 0.4x", "--rounds 0.8x,0.9x", "--rounds 0.8x,12ms", "--rounds many", "--rounds 0.8x,,0.6x"),
    "--rounds 0.8x,",
)
EPOCHS = ("--epochs -1", "--epochs few")
SEARCHED = ("--strategy dpg", "--episodes 0", "--episodes -3", "--episodes many", *SEED)
CHECKPOINT = (
    *("--checkpoint gone.pt", "--checkpoint FOLDER", "--checkpoint FILE", "--checkpoint EMPTY"),
    *("--checkpoint CUT.pt", "--checkpoint FLIPPED.pt", "--checkpoint PICKLE", "--checkpoint CUT.safetensors"),
)
SMALLER = (
    *("--smaller=", "--smaller resnet20", "--smaller =FILE", "--smaller resnet20=", "--smaller resnet20=gone.pt"),
    *("--smaller resnet20=FILE", "--smaller resnet20=EMPTY", "--smaller resnet21=CUT.pt"),
    "--smaller resnet20=SOUND --smaller resnet20=SOUND",
    "--smaller resnet20=SOUND --device host --device onnx --precision fp32",
)
SETTINGS = (
    *(*MODEL, *DATA, *DEVICE, *TABLE, *COMPUTE, *BUDGETS, *SEARCHED),
    *(*CHECKPOINT, *SMALLER, "--model resnet20", "--importance tailor", "--reward resorce"),
    *("--accuracy-floor 0.9", "--reward accuracy_guaranteed --accuracy-floor 90"),
    *("--reward accuracy_guaranteed --accuracy-floor 0", "--reward accuracy_guaranteed --accuracy-floor high"),
    *("--exclude=", "--include=", "--exclude *"),
    *("--agent FOLDER", "--strategy ddpg-multi --agent gone", "--strategy ddpg-multi --agent FOLDER"),
    *("--multiple 0", "--multiple 6", "--lower 0", "--lower 1.5", "--lower -1", "--lower nan", "--nonsense 3"),
)
WRONG = {
    "devices": ("--clean host", "--clean hots", "--nonsense"),
    "train": (
        *(
            f"--out NEW {wrong}"
            for wrong in (*MODEL, *DATA, *COMPUTE, *SEED, "--epochs 0", "--epochs few", "--nonsense 3")
        ),
        *(f"--out NEW {wrong}" for wrong in ("--lr 0", "--lr -1", "--lr nan", "--batch-size 0", "--weight-decay -1")),
        *("", "--out FOLDER", "--out NEW/a/z.pt"),
    ),
    "profile": (*MODEL, *DEVICE, *TABLE, *SEED, "--image-size 7", "--image-size big", "--classes 1"),
    "search": ("", *(f"--run NEW {wrong}" for wrong in SETTINGS), *RUN_FOLDER),
    "compress": (*(f"--run NEW {wrong}" for wrong in (*SETTINGS, *ROUNDS, *EPOCHS)), *RUN_FOLDER),
    "sweep": (
        *(f"--out NEW --latency 0.5x {wrong}" for wrong in (*SETTINGS, *ROUNDS, *EPOCHS, "--seeds 0", "--jobs 0")),
        *("", "--out NEW", "--latency 0.5x,0.5x", "--latency 0.5x,3x", "--latency 0.5x,0.3x --macs 0.5x,0.3x"),
        *("--latency 0.5x,", "--latency ,", "--latency 0.5x,0.3x --rounds 0.4x", "--latency 0.5x --out FILE"),
        "--latency 0.5x --out NEW/a/b",
    ),
    "sparsify": (
        "",
        *(f"--run NEW {wrong}" for wrong in (*MODEL, *DATA, *COMPUTE, *SEARCHED, *ROUNDS[1:], *EPOCHS, "--size 2ms")),
        *("--run NEW --size 0.5", *(f"--run NEW {wrong}" for wrong in CHECKPOINT), *RUN_FOLDER),
    ),
    "finetune": (*OF_A_RUN, *(f"--run OTHER {wrong}" for wrong in (*EPOCHS, *COMPUTE))),
    "export": (*OF_A_RUN, "--run OTHER --format tflit"),
    "evaluate": (
        *("", "FILE", "gone.tflite --data digits", "FILE --run OTHER", "--run gone", "FILE --data digit"),
        *("FILE --data npz:gone", "--run OTHER --data imagenet"),
        *(
            "FILE --data digits",
            "CUT.pt --data digits",
            "FAKE.tflite --data digits",
            "FAKE.onnx --data digits",
            "FAKE.pte --data digits",
        ),
    ),
    "benchmark": (
        *("", "gone.tflite", "FILE --runs 0", "FILE --repeats 0", "FILE --warmup -1", "FILE --out FOLDER"),
        "FILE --out NEW/a/b.json",
        *("FILE", "FAKE.tflite", "FAKE.onnx", "FAKE.onnx --device onnx", "FAKE.pte --device executorch"),
        *(f"FILE {wrong}" for wrong in DEVICE),
    ),
    "report": ("", "gone", "--run gone", "--run FOLDER", "FOLDER OTHER", "OTHER FOLDER --out NEW/a/c.html"),
    "table show": (
        "",
        "gone.json",
        "FILE",
        "FOLDER",
        "TABLE --plot a.png",
        "TABLE --plot a.html --layer nowhere",
        "TABLE --plot NEW/a/b.html",
    ),
    "table check": (
        "",
        *(
            f"--model resnet20 {wrong}"
            for wrong in (
                *DEVICE,
                *TABLE,
                *SEED,
                "--networks 0",
                "--table gone.json",
                "--plot a.png",
                "--plot NEW/a/b.html",
            )
        ),
        *MODEL,
        *("--model resnet20 --image-size 7", "--model resnet20 --classes 1"),
    ),
    "table import": (
        *("FILE --model mobilenet_v1 --device-name x --out NEW", "gone.txt --model FOLDER --device-name x --out NEW"),
        *("", "gone.txt --model mobilenet_v1 --device-name x --out NEW", "FILE --device-name x --out NEW"),
        *("FILE --model gone.tflite --device-name x --out NEW", "FILE --model mobilenet_v1 --device-name x --out FILE"),
        "FILE --model mobilenet_v1 --device-name x --out NEW --threads 0",
        "FILE --model mobilenet_v1 --device-name x --out NEW/a/b.json",
    ),
    "table merge": (
        "",
        "gone.json TABLE --out NEW",
        "TABLE --out NEW",
        "TABLE FILE --out NEW",
        "TABLE TABLE --out TABLE",
        "TABLE TABLE --out NEW/a/b.json",
    ),
    "table diff": ("", "TABLE", "TABLE gone.json", "TABLE FILE"),
}
WALK = """
import contextlib, io, json, sys, time
sys.path.insert(0, "tests/support")
from commands import amc_hw
HEAVY = ("torch", "torchvision", "ai_edge_litert", "litert_torch", "onnxruntime")
for arguments in json.load(sys.stdin):
    said, began = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = amc_hw(*arguments)
    loaded = [name for name in HEAVY if name in sys.modules]
    print(json.dumps([status, said.getvalue(), time.process_time() - began, loaded]))
    if loaded:
        break
"""


@dataclass(frozen=True)
class Refused:
    status: int
    said: str
    seconds: float
    loaded: list[str]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "file").write_text("no table, no network, no log")
    (folder / "empty").mkdir()
    open_run(folder / "other", make_config(model="plain20", data="digits"))
    damaged = damaged_checkpoints(folder) | fakes(folder)
    table = Path(__file__).parents[2] / "lookup_tables" / "pixel1.json"
    names = {"FILE": "file", "FOLDER": "empty", "OTHER": "other", "NEW": "new"}
    return {word: str(folder / name) for word, name in names.items()} | damaged | {"TABLE": str(table)}


def fakes(folder: Path) -> dict[str, str]:
    """Write texts that are called like files for devices."""
    names = [f"FAKE.{form}" for form in ("tflite", "onnx", "pte")]
    for name in names:
        (folder / name).write_text("a text")
    return {name: str(folder / name) for name in names}


def damaged_checkpoints(folder: Path) -> dict[str, str]:
    """Write files that are none, or no longer: each is known by its bytes alone."""
    whole, tensors = folder / "whole.pt", {"weight": torch.zeros(64)}
    torch.save(tensors, whole)
    content, safe = whole.read_bytes(), save(tensors)
    files = {
        "SOUND": content,
        "EMPTY": b"",
        "CUT.pt": content[:-100],
        "FLIPPED.pt": content.replace(bytes(128), b"!" + bytes(127), 1),
        "PICKLE": pickle.dumps({"weight": [0.0]}),
        "CUT.safetensors": safe[:-1],
    }
    for name, damaged in files.items():
        (folder / name).write_bytes(damaged)
    return {name: str(folder / name) for name in files}


def placed(word: str, places: dict[str, str]) -> str:
    before, equals, value = word.rpartition("=")
    place, slash, below = value.partition("/")
    return f"{before}{equals}{places[place]}{slash}{below}" if place in places else word


def refusals(cases: list[list[str]]) -> list[Refused]:
    """Run wrong commands in one process of their own, which ends where something heavy was loaded."""
    root = Path(__file__).parents[2]
    walked = subprocess.run(
        [sys.executable, "-c", WALK], input=json.dumps(cases), capture_output=True, text=True, cwd=root, check=False
    )
    return [Refused(*json.loads(line)) for line in walked.stdout.splitlines()]


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_setting_is_refused_at_once(command: str, places: dict[str, str]) -> None:
    texts = [f"{command} {wrong}".split() for wrong in WRONG[command]]
    cases = [[placed(word, places) for word in words] for words in texts]
    found = refusals(cases)
    for words, refused in zip(texts, found, strict=False):
        told = f"{' '.join(words)}: {refused}"
        assert refused.status == 2, told
        assert refused.loaded == [], told
        assert refused.seconds < LIMIT_S, told
        assert refused.said.strip(), told
        assert "Traceback" not in refused.said, told
        assert not Path(places["NEW"]).exists(), told
    assert len(found) == len(cases)
