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
from amc_hw.search.sample import LEAST, draw_sample, everything, sample_size
from amc_hw.search.scoring import Sampling


def margins(images: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    base = torch.randn(images, generator=draw)
    return base + 0.3 * torch.randn(2, images, generator=draw)


@settings(deadline=None, max_examples=50)
@given(
    images=st.integers(1, 6000),
    seed=st.integers(0, 100),
    easy=st.floats(-10, 10),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6, float("nan")]),
)
def test_a_sample_has_the_size_that_was_told(images: int, seed: int, easy: float, scale: float) -> None:
    guides = margins(images, seed) + easy
    guides[1] *= scale
    sample = draw_sample(guides)
    assert len(sample) == sample_size(images) <= images
    assert float(sample.weights.sum()) == pytest.approx(images, rel=0.2)
    assert 1 <= float(sample.weights.min()) <= float(sample.weights.max()) <= 12.01
    assert len(set(sample.positions.tolist())) == len(sample)
    assert sample.positions.min() >= 0
    assert sample.positions.max() < images


def test_few_images_are_all_looked_at() -> None:
    assert sample_size(LEAST) == LEAST
    assert draw_sample(margins(LEAST, 0)).weights.unique().tolist() == [1.0]


def test_images_in_doubt_are_looked_at_and_sure_ones_are_few() -> None:
    images = 5000
    guides = margins(images, 1)
    guides[:, :100] = torch.tensor([[1.0], [-1.0]])  # the guides contradict each other
    sample = draw_sample(guides)
    chosen = set(sample.positions.tolist())
    assert len(chosen & set(range(100))) > 1.5 * 100 * len(sample) / images
    for sure in (guides.mean(0) > 1.5, guides.mean(0) < -1.5):  # what all get wrong is as sure
        assert len(chosen & set(sure.nonzero()[:, 0].tolist())) < 0.12 * int(sure.sum())


@pytest.mark.parametrize("easy", [0.2, 1.5])
def test_accuracies_and_their_differences_are_nearer_than_by_as_many_images_drawn_alike(easy: float) -> None:
    images, errors, plain, differences, plain_differences = 5000, [], [], [], []
    for seed in range(200):
        draw = torch.Generator().manual_seed(seed)
        guides = margins(images, seed) + easy
        policies = guides[1] + 0.3 * torch.randn(2, images, generator=draw) > 0
        sample = draw_sample(guides)
        first, second = (sample.accuracy(right[sample.positions]) for right in policies)
        true = policies.double().mean(1)
        errors.append(first - float(true[0]))
        differences.append(first - second - float(true[0] - true[1]))
        drawn = torch.randperm(images, generator=draw)[: len(sample)]
        plain.append(float(policies[0][drawn].double().mean() - true[0]))
        plain_differences.append(
            float((policies.double()[:, drawn].mean(1) - true) @ torch.tensor([1.0, -1.0]).double())
        )
    spread = torch.tensor(errors).std()
    assert abs(torch.tensor(errors).mean()) < 3 * spread / len(errors) ** 0.5
    assert spread < 0.5 * torch.tensor(plain).std()
    assert torch.tensor(differences).std() < 0.8 * torch.tensor(plain_differences).std()


def test_a_kept_sample_is_not_drawn_again(tmp_path: Path) -> None:
    drawn = draw_sample(torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)))
    sampling = Sampling(file=RunFolder(tmp_path).sample)
    assert sampling.once(5000, lambda: drawn) is drawn
    kept = sampling.once(5000, lambda: pytest.fail("it was drawn again"))
    assert torch.equal(kept.positions, drawn.positions)
    assert torch.equal(kept.weights, drawn.weights)
    assert kept.offset == drawn.offset != 0


@pytest.mark.parametrize("kept", [([0, 5], [1.0, 1.0]), ([0, 1], [1.0])])
def test_a_kept_sample_of_other_images_is_refused(tmp_path: Path, kept: tuple[list[int], list[float]]) -> None:
    positions, weights = kept
    file = RunFolder(tmp_path).sample
    file.write(ScoredImages(positions=positions, weights=weights))
    with pytest.raises(RunFolderError, match="no sample of 5 images"):
        Sampling(file=file).once(5, lambda: everything(5))
