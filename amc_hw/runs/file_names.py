"""The names of the files in a run folder, each written here and nowhere else, and the command that makes each."""

from __future__ import annotations

import re
from pathlib import Path

CONFIG = "config.json"
TABLE = "table.json"
BASELINE = "baseline.pt"
EPISODES = "episodes.jsonl"
AGENT, FIRST_AGENT = "agent.pt", "agent-first.pt"
SHORTLIST = "shortlist.jsonl"
MISSES = "misses.jsonl"
POLICY = "policy.json"
PRUNED = "pruned.pt"
SPARSITY = "sparsity.json"
FINETUNE, FINETUNED = "finetune.json", "model.pt"
FINETUNE_STATE, FINETUNE_STATES = "finetune{}.state", "finetune*.state"
BENCHMARK, LOGS = "benchmark.json", "logs"
SUMMARY = "summary.json"
REPORT = "report.html"
TENSORBOARD = "tensorboard"
SHOWN = "log.txt"
ROUND = "round-{}"
ORIGINAL, MODEL, CANDIDATE = "original", "model", "candidate"
"""Exported files without their ending, which is their format."""
FRONT = "front.html"
"""Of a sweep's folder."""

_MADE_BY = {
    **dict.fromkeys((FINETUNE, BENCHMARK, SUMMARY), "compress"),
    FINETUNED: "finetune",
    SPARSITY: "sparsify",
}


def maker(path: Path) -> str:
    """Return the command that makes a file of a run folder; what has none of its own is made by a search."""
    folder, command = path.parent, _MADE_BY.get(path.name, "search")
    if (folder / SPARSITY).exists():
        command = "sparsify"
    if re.fullmatch(ROUND.format(r"\d+"), folder.name):  # made by the command for all rounds
        folder, command = folder.parent, "sparsify" if command == "sparsify" else "compress"
    return f"amc-hw {command} --run {folder} ..."
