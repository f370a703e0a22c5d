"""What is kept of a search: the chosen policy, and what its reader should know of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from amc_hw.budget.cost import Cost
from amc_hw.budget.network_costs import NetworkCosts
from amc_hw.pipeline.trained import TrainedModel
from amc_hw.runs.records import Candidate, ChosenPolicy, Group


def chosen_policy(
    trained: TrainedModel,
    costs: NetworkCosts,
    chosen: Candidate,
    candidates: list[Candidate],
    episodes: int,
    warnings: Sequence[str] = (),
) -> ChosenPolicy:
    """Return what is kept of a search: the chosen channels, what each group costs, and what was measured.

    A policy that was not measured is marked ``unverified``; ``warnings`` say what else its reader should know.
    """
    original = trained.network.original
    left_out = [block.inside for block in trained.network.blocks if chosen.channels[block.group] == 0]
    gone = {group for inside in left_out for group in inside}
    return ChosenPolicy(
        episodes=episodes,
        channels=chosen.channels,
        original_channels=dict(original),
        predicted_ms=chosen.predicted_ms,
        measured_ms=chosen.measured_ms,
        unverified=chosen.measured_ms is None,
        warnings=list(warnings),
        groups=[
            Group(
                name=name,
                original=original[name],
                kept=0 if name in gone else chosen.channels[name],
                latency_ms_original=group_latency(costs.latency_ms, name, original),
                latency_ms_kept=group_latency(costs.latency_ms, name, chosen.channels),
            )
            for name in original
        ],
        unprunable=dict(trained.network.unprunable),
        candidates=candidates,
        image_size=trained.image_size,
        **trained.policy_fields,
    )


def under_floor(chosen: Candidate, floor: float | None) -> list[str]:
    """Return the sentence for a chosen policy that is less accurate than the floor allows; none where it keeps it."""
    if floor is None or chosen.score >= floor:
        return []
    return [
        f"the policy's accuracy on the validation split is {chosen.score:.2%} before fine-tuning, under the floor of "
        f"{floor:.2%}: no policy was found that keeps both the floor and the budget; search longer, or give a "
        "larger budget or a lower floor."
    ]


def blindly_chosen(scores: Iterable[float]) -> list[str]:
    """Return the sentence for a search whose policies all had a score of 0; none where one had more."""
    if any(scores):
        return []
    return [
        "every policy that was scored had 0, so that the search had nothing to choose by: give a larger budget, or "
        "look at what the task's score gives for networks before fine-tuning."
    ]


def group_latency(cost: Cost, group: str, policy: Mapping[str, int]) -> float:
    """Return what the operators that a group touches cost under a policy."""
    return sum(cost.value(index, policy) for index in cost.touching(group))
