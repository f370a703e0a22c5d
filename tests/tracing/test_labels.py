from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from amc_hw.tracing.labels import Labels, compact, fixed, varies


def activation(labels: torch.Tensor, height: int = 4, width: int = 5) -> torch.Tensor:
    return labels.view(1, -1, 1, 1).expand(2, len(labels), height, width)


def same(book: Labels, one: torch.Tensor, other: torch.Tensor) -> bool:
    roots = book.roots()
    return bool((roots[one.numpy()] == roots[other.numpy()]).all())


def test_elements_that_meet_are_one_channel() -> None:
    book = Labels()
    one, other, gate = book.fresh(3), book.fresh(3), book.fresh(3)
    result = book.pointwise([activation(one), activation(other), activation(gate, 1, 1)], (2, 3, 4, 5))
    assert result.shape == (2, 3, 4, 5)
    assert same(book, one, other)
    assert same(book, one, gate)
    assert len(set(book.roots()[one.numpy()])) == 3


def test_one_value_for_many_channels_must_stay_and_joins_nothing() -> None:
    book = Labels()
    channels, attention = book.fresh(3), book.fresh(1)
    book.pointwise([activation(channels), activation(attention)], (2, 3, 4, 5))
    roots = book.roots()
    assert set(book.reasons(roots)) == {int(roots[0]), int(roots[attention.item()])}
    assert len(set(roots[channels.numpy()])) == 3


def test_what_meets_a_constant_must_stay() -> None:
    book = Labels()
    channels = book.fresh(2)
    mixed = torch.cat([channels[:1], fixed((1,))])
    book.join(channels, mixed)
    roots = book.roots()
    assert [int(root) in book.reasons(roots) for root in roots[channels.numpy()]] == [False, True]


def test_labels_of_an_activation_take_no_memory_for_space() -> None:
    book = Labels()
    full = activation(book.fresh(4)).clone()
    assert not varies(compact(full), 2)
    assert [step == 0 for step in compact(full).stride()] == [True, False, True, True]
    assert torch.equal(compact(full), full)


@given(st.integers(1, 4), st.integers(2, 4), st.integers(1, 3), st.integers(1, 3))
def test_splitting_channels_joins_the_parts_one_to_one(parts: int, each: int, height: int, width: int) -> None:
    book = Labels()
    channels = book.fresh(parts * each)
    split, _ = book.reshape(activation(channels, height, width), (2, parts, each, height, width), "here")
    assert split.shape == (2, parts, each, height, width)
    assert len(set(book.roots()[channels.numpy()].tolist())) == each
    assert same(book, channels.view(parts, each), channels[:each].expand(parts, each))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 3))
def test_flattening_joins_nothing(shape: list[int], start: int) -> None:
    book = Labels()
    labels = book.fresh(math.prod(shape)).view(shape)
    start = min(start, len(shape) - 1)
    flat, _ = book.reshape(labels, (*shape[:start], math.prod(shape[start:])), "here")
    assert torch.equal(flat, labels.flatten(start))
    assert len(set(book.roots())) == math.prod(shape) + 2  # and those of no channel
