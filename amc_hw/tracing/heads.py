"""How modules that split channels into heads lose them: whole heads, or equally much of every head's width."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from amc_hw.policy import LEAST_CHANNELS
from amc_hw.tracing.assemble import Assembly
from amc_hw.tracing.attributes import Drivers
from amc_hw.tracing.follow import follow
from amc_hw.tracing.followed import Followed
from amc_hw.tracing.network import ChannelGroup
from amc_hw.tracing.operator import Heads, kind_of
from amc_hw.tracing.queries import find_queries
from amc_hw.tracing.verify import Proof

WAYS = (
    *(Heads(-2), Heads(-1), Heads(-1, scaled=True)),
    *(Heads(-2, tied=True), Heads(-1, tied=True), Heads(-1, tied=True, scaled=True)),
)
"""Whole heads first, which need no change of other weights."""


def with_heads(model: nn.Module, example_input: Any, followed: Followed, drivers: Drivers) -> Followed:
    """Return what a forward pass tells where each kind of attention loses channels in the first way that is proven.

    Args:
        model: a copy that may be hooked, in evaluation mode.
        example_input: what it takes.
        followed: what a forward pass told without.
        drivers: the attributes that sizes of its operators come from.
    """
    kinds = _attending(followed)
    if not kinds:
        return followed
    proof = Proof(model, example_input, torch.float64)
    queries = find_queries(model, example_input)

    @functools.lru_cache(maxsize=1)  # what is tried last is often asked for again
    def tried(*ways: tuple[str, Heads]) -> Followed:
        return follow(model, example_input, drivers, dict(ways), queries)

    chosen: dict[str, Heads] = {}
    for kind in kinds:
        few: list[Heads] = []
        for way in WAYS:
            trial = tried(*chosen.items(), (kind, way))
            tries = [way, *(replace(way, ignored=frozenset({name})) for name in _numbers(model, trial, kind))]
            trials = ((each, tried(*chosen.items(), (kind, each))) for each in tries)
            found = ((each, groups) for each, trial in trials if (groups := _proven(trial, kind, proof)))
            best, groups = next(found, (None, []))
            if best is not None and max(group.channels for group in groups) <= LEAST_CHANNELS:
                few.append(best)  # of which none can go
            elif best is not None:
                chosen[kind] = best
                break
        if kind not in chosen and few:
            chosen[kind] = few[0]
    left = [kind for kind in kinds if kind not in chosen]
    for way in WAYS if len(left) > 1 else ():  # of kinds that share the channels which enter them, none goes alone
        together = {**chosen, **dict.fromkeys(left, way)}
        trial = tried(*together.items())
        if all(_proven(trial, kind, proof) for kind in left):
            chosen = together
            break
    return tried(*chosen.items()) if chosen else followed


def _numbers(model: nn.Module, followed: Followed, kind: str) -> list[str]:
    """Return the numbers of a kind of module that follow channels."""
    places = (name.rpartition(".") for name, _ in followed.noted.sizes)
    return sorted({name for parent, _, name in places if kind_of(model.get_submodule(parent)) == kind})


def _attending(followed: Followed) -> list[str]:
    """Return the kinds of modules that split channels which then meet in products."""
    roots = followed.book.roots()
    in_products = [roots[labels.numpy()] for each in followed.noted.products for labels in each.labels]
    meeting = np.unique(np.concatenate(in_products)) if in_products else np.zeros(0, np.int64)
    found = {
        split.kind: None
        for split in followed.noted.splits
        if np.isin(np.unique(roots[split.labels.numpy()]), meeting).any()
    }
    return list(found)


def _proven(followed: Followed, kind: str, proof: Proof) -> list[ChannelGroup]:
    """Return the groups that the first module of a kind splits, where they can be cut; else none."""
    assembly = Assembly(followed)
    first = next(split.labels for split in followed.noted.splits if split.kind == kind)
    names = assembly.owning(first)
    groups = [group for group in assembly.groups() if group.name in names]
    return groups if groups and proof.failure(groups) is None else []
