"""Progress of pieces of a stage."""

from __future__ import annotations

from amc_hw.runs.progress import Progress, Update


def test_a_piece_moves_the_stage_that_it_belongs_to() -> None:
    told: list[Update] = []
    whole = Progress(told.append, "round 1 of 3")
    third = whole.piece("short fine-tunes", 2, 4, "candidate 3")
    third("training", 5, 10, "epoch 1/2")
    assert told == [Update("short fine-tunes", 25, 40, "candidate 3", "round 1 of 3")]
