"""The names of the files in a run folder, each written here and nowhere else, and the command that makes each."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

CONFIG = "config.json"
TABLE = "table.json"
BASELINE = "baseline.pt"
EPISODES = "episodes.jsonl"
ORIGINAL_TIMES = "original-times.json"
PRECISION = "precision.json"
SPEED = "speed.json"
SMALLER = "smaller.json"
AGENT, FIRST_AGENT = "agent.pt", "agent-first.pt"
SAMPLE, KNOWN, WINNERS = "sample.json", "known.jsonl", "winners.jsonl"
SHORTLIST = "shortlist.jsonl"
MISSES = "misses.jsonl"
POLICY = "policy.json"
PRUNED = "pruned.pt"
SPARSITY = "sparsity.json"
FINETUNE, FINETUNED = "finetune.json", "model.pt"
FINETUNE_STATE, FINETUNE_STATES = "finetune{}.state", "finetune*.state"
BENCHMARK, LOGS = "benchmark.json", "logs"
TESTED = "tested.jsonl"
SUMMARY = "summary.json"
REPORT = "report.html"
TENSORBOARD = "tensorboard"
SHOWN = "log.txt"
ROUND = "round-{}"
ON_DEVICE = "device-{}"
ORIGINAL, MODEL, CANDIDATE, SMALLER_FILE = "original", "model", "candidate", "smaller-{}"
"""Exported files without their ending, which is their format."""
FRONT = "front.html"
"""Of a sweep's folder."""

_MADE_BY = {
    **dict.fromkeys((FINETUNE, BENCHMARK, SUMMARY), "compress"),
    FINETUNED: "finetune",
    SPARSITY: "sparsify",
}

LONGEST_COMMAND = 1000
"""Characters of a command that an error names; a longer one is rather damage."""


def maker(path: Path) -> str:
    """Return the command that makes a file of a run folder: whole, where the run's settings say what was typed.

    What has no command of its own is made by a search.
    """
    folder, command = path.parent, _MADE_BY.get(path.name, "search")
    if (folder / SPARSITY).exists():
        command = "sparsify"
    if re.fullmatch(ROUND.format(r"\d+"), folder.name):  # made by the command for all rounds
        folder, command = folder.parent, "sparsify" if command == "sparsify" else "compress"
    typed = _typed(folder)
    if not typed or (command, typed[1]) == ("finetune", "search"):
        return f"amc-hw {command} --run {shlex.quote(str(folder))}{'' if command == 'finetune' else ' ...'}"
    if (command, typed[1]) == ("compress", "search"):  # it takes all that a search takes
        typed[1] = command
    return shlex.join(typed)


def _typed(folder: Path) -> list[str]:
    """Return the words of the command that a run was begun with, for the folder as it lies now; none if not known."""
    try:
        words = shlex.split(str(json.loads((folder / CONFIG).read_text())["command"]))
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return []
    words = [word for word in words if word != "--debug"]
    if words[:1] != ["amc-hw"] or words[1:2] not in (["search"], ["compress"], ["sparsify"], ["sweep"]):
        return []
    if not all(word.isprintable() for word in words) or sum(map(len, words)) > LONGEST_COMMAND:
        return []
    if words[1] == "sweep":
        return words
    for place, word in enumerate(words):
        if word == "--run" or word.startswith("--run="):
            del words[place : place + 1 + (word == "--run")]
            break
    return [*words, "--run", str(folder)]
