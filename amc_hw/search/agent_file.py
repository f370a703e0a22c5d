"""A trained agent in a file, so that a search for another budget can begin with it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch

from amc_hw.errors import UsageError
from amc_hw.models.checkpoint_file import load_plain
from amc_hw.runs.files import write_bytes
from amc_hw.search.ddpg import Agent
from amc_hw.search.space import Step

FORMAT = 1  # 1: the groups with their channels in the original network, actor and critic


def save_agent(file: Path, agent: Agent, steps: Sequence[Step]) -> None:
    """Write an agent's weights with the groups that it decides; raise RunFolderError where that cannot be."""
    content = io.BytesIO()
    document = {"format": FORMAT, "groups": _groups(steps)}
    torch.save({**document, "actor": agent.actor.state_dict(), "critic": agent.critic.state_dict()}, content)
    write_bytes(file, content.getvalue())


def load_agent(file: Path, agent: Agent, steps: Sequence[Step]) -> None:
    """Give an agent, and the targets that follow it, the weights of a file.

    Raises:
        UsageError: the file cannot be read, is no agent's, or its agent decides the groups of another network.
    """
    cure = "name the folder of a run of the same network that searched with strategy=ddpg-multi"
    try:
        document = load_plain(file)
        if document["format"] != FORMAT:
            found = repr(document["format"])[:40]
            raise UsageError(f"{file} has format {found}, and this version reads format {FORMAT}; {cure}.")
        if document["groups"] != _groups(steps):
            raise UsageError(f"the agent in {file} learned the channel groups of another network; {cure}.")
        for network, name in ((agent.actor, "actor"), (agent.critic, "critic")):
            network.load_state_dict(document[name])
    except UsageError:
        raise
    except Exception as error:  # torch.load and load_state_dict raise many kinds
        raise UsageError(f"{file} holds no agent of this network ({type(error).__name__}); {cure}.") from error
    agent.target_actor.load_state_dict(agent.actor.state_dict())
    agent.target_critic.load_state_dict(agent.critic.state_dict())


def _groups(steps: Sequence[Step]) -> dict[str, int]:
    return {step.group: step.choices[-1] for step in steps}
