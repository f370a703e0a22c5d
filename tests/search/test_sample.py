from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amc_hw.errors import RunFolderError
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.shared import ScoredImages
from amc_hw.search.sample import LEAST, STRATA, draw_sample, everything, sample_size
from amc_hw.search.scoring import Sampling


def margins(images: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    base = torch.randn(images, generator=draw)
    return base + 0.3 * torch.randn(2, images, generator=draw)


@settings(deadline=None, max_examples=50)
@given(images=st.integers(1, 6000), seed=st.integers(0, 100))
def test_a_sample_has_the_size_that_was_told_and_stands_for_all_images(images: int, seed: int) -> None:
    sample = draw_sample(margins(images, seed))
    assert len(sample) == sample_size(images) <= images
    assert float(sample.weights.sum()) == pytest.approx(images)
    assert len(set(sample.positions.tolist())) == len(sample)
    assert sample.positions.min() >= 0
    assert sample.positions.max() < images


def test_few_images_are_all_looked_at() -> None:
    assert sample_size(LEAST) == LEAST
    assert min(sample_size(images) for images in range(LEAST, LEAST + 50)) >= 1000
    assert draw_sample(margins(LEAST, 0)).weights.unique().tolist() == [1.0]


def test_the_hardest_images_are_all_in_the_sample_and_stand_for_themselves() -> None:
    images = 5000
    hardness = torch.randn(images, generator=torch.Generator().manual_seed(1))
    sample = draw_sample(hardness[None])
    hardest = set(hardness.argsort()[: int(STRATA[0][0] * images)].tolist())
    alone = sample.positions[sample.weights == 1].tolist()
    assert set(alone) == hardest


def test_the_weighted_accuracy_is_right_on_average_and_nearer_than_as_many_images_drawn_alike() -> None:
    images, errors, plain = 5000, [], []
    for seed in range(200):
        draw = torch.Generator().manual_seed(seed)
        guides = margins(images, seed)
        right = (guides[0] + 0.3 * torch.randn(images, generator=draw)) > -1.5
        sample = draw_sample(guides)
        estimate = (right[sample.positions] * sample.weights).sum() / sample.weights.sum()
        errors.append(float(estimate - right.double().mean()))
        drawn = torch.randperm(images, generator=draw)[: len(sample)]
        plain.append(float(right[drawn].double().mean() - right.double().mean()))
    spread = torch.tensor(errors).std()
    assert abs(torch.tensor(errors).mean()) < 3 * spread / len(errors) ** 0.5
    assert spread < 0.6 * torch.tensor(plain).std()


def test_a_kept_sample_is_not_drawn_again(tmp_path: Path) -> None:
    drawn = draw_sample(torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)))
    sampling = Sampling(file=RunFolder(tmp_path).sample)
    assert sampling.once(5000, lambda: drawn) is drawn
    kept = sampling.once(5000, lambda: pytest.fail("it was drawn again"))
    assert torch.equal(kept.positions, drawn.positions)
    assert torch.equal(kept.weights, drawn.weights)


@pytest.mark.parametrize("kept", [([0, 5], [1.0, 1.0]), ([0, 1], [1.0])])
def test_a_kept_sample_of_other_images_is_refused(tmp_path: Path, kept: tuple[list[int], list[float]]) -> None:
    positions, weights = kept
    file = RunFolder(tmp_path).sample
    file.write(ScoredImages(positions=positions, weights=weights))
    with pytest.raises(RunFolderError, match="no sample of 5 images"):
        Sampling(file=file).once(5, lambda: everything(5))
