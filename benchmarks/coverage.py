"""On which of many networks channels can be removed: each is traced, cut, and held against the masked original.

Random weights, small images. Three random policies and half of every group must give what the masked original gives,
with exactly the predicted MACs and parameters, counted in the cut network; Torch-Pruning takes the same share of
channels from the same network. Each network has a process of its own, with one thread and limits of time and memory,
so that a crash is a row. What is done is in a file of results, and the same command goes on behind it:

    python benchmarks/coverage.py --out coverage.jsonl
    python benchmarks/coverage.py --out coverage.jsonl --networks 'timm:vit_*' --files
    python benchmarks/coverage.py --out coverage.jsonl --table

Packages that are missing are rows: timm, segmentation-models-pytorch, ultralytics, torch-pruning.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from coverage_networks import all_names, preload
from coverage_row import run
from coverage_table import summary, table

Result = dict[str, Any]
CONTEXT = multiprocessing.get_context("fork")  # the packages are imported once


def read_results(file: Path) -> dict[str, Result]:
    """Return the last result of every network; a line that a kill cut off does not count."""
    found: dict[str, Result] = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            result = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[result["network"]] = result
    return found


def append_result(file: Path, result: Result) -> None:
    """Add a line to the results in one write, so that several runs may share them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torn = file.exists() and file.read_bytes()[-1:] not in (b"", b"\n")
    with file.open("ab", buffering=0) as end:
        end.write((b"\n" if torn else b"") + json.dumps(result).encode() + b"\n")


def lacking(wanted: list[str], done: dict[str, Result], *, again: bool) -> list[str]:
    """Return the networks without a result; where they are asked for again, also those that were not proven."""
    return [name for name in wanted if name not in done or (again and done[name]["outcome"] != "proven")]


def stopped(known: Result, outcome: str, why: str) -> Result:
    """Return the result of a process that was ended: where the proof was done before, only what followed is lacking."""
    if known["outcome"] in ("proven", "wrong", "refused") and "trace_s" in known:
        step = {"files": why} if "theirs_why" in known else {"theirs": None, "theirs_why": why}
        return {**known, **step}
    return {**known, "outcome": outcome, "why": f"{why} {'to prove it' if 'groups' in known else 'to trace it'}"}


def result_of(name: str, limit_s: float, memory: float, *, with_files: bool) -> Result:
    """Run one network in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "row.jsonl"
        started = time.perf_counter()
        process = CONTEXT.Process(target=run, args=(name, into, memory), kwargs={"with_files": with_files}, daemon=True)
        process.start()
        try:
            process.join(limit_s)
        finally:
            status = process.exitcode
            process.kill()
            process.join()
        known = read_results(into).get(name, {"network": name, "outcome": "crash", "why": ""})
    if status is None:
        known = stopped(known, "time limit", f"more than {limit_s:g} s")
    elif status:
        known = stopped(known, "crash", f"its process ended with status {status}")
    return {**known, "seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the results, a line of JSON for each network")
    parser.add_argument("--networks", nargs="+", default=["*"], help="patterns of PACKAGE:NAME")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one network")
    parser.add_argument("--memory", type=float, default=8, help="GiB for one network")
    parser.add_argument("--files", action="store_true", help="hold written files against conversions, too (slow)")
    parser.add_argument("--again", action="store_true", help="run what was not proven once more")
    parser.add_argument("--table", action="store_true", help="run nothing; print what is there")
    arguments = parser.parse_args()
    names = all_names()
    wanted = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in arguments.networks)]
    if not wanted:
        parser.error(f"no network matches {' '.join(arguments.networks)}; patterns are like 'timm:*'")
    missing = [] if arguments.table else lacking(wanted, read_results(arguments.out), again=arguments.again)
    preload(missing)
    for name in missing:
        result = result_of(name, arguments.limit, arguments.memory, with_files=arguments.files)
        append_result(arguments.out, result)
        print(f"{name}: {result['outcome']} {result['why'][:100]} ({result['seconds']} s)", file=sys.stderr, flush=True)
    results = read_results(arguments.out)
    rows = [results[name] for name in names if name in results]
    print(table(rows), summary(rows), sep="\n\n")


if __name__ == "__main__":
    main()
