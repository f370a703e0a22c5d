"""The agent of a run: what it begins with, and what it leaves for searches of other budgets."""

from __future__ import annotations

from pathlib import Path

from amc_hw.errors import UsageError
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import write_bytes
from amc_hw.runs.folder import RunFolder
from amc_hw.search.agent_file import save_agent
from amc_hw.search.ddpg_strategies import DdpgMultiStrategy
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategies import find_strategy
from amc_hw.search.strategy import Strategy


def agent_file(run: RunFolder, config: RunConfig) -> Path | None:
    """Return the file of the agent that the search begins with; None where it begins with a fresh one.

    Raises:
        UsageError: the strategy is unknown or takes no agent, the run that is named has none, or there are rounds.
    """
    find_strategy(config.strategy, with_agent=config.agent is not None)
    if config.agent is None:
        return None
    if config.rounds:
        raise UsageError("later rounds choose from fewer channels than the agent knows; leave --agent or --rounds out.")
    if run.first_agent.exists():
        return run.first_agent
    file = RunFolder(Path(config.agent)).agent
    if not file.exists():
        raise UsageError(
            f"{file} does not exist; --agent names the folder of a run that has searched with --strategy ddpg-multi."
        )
    return file


def keep_first_agent(run: RunFolder, file: Path | None) -> None:
    """Copy the agent that the search begins with into the run folder, where there is one."""
    if file is not None and file != run.first_agent:
        write_bytes(run.first_agent, file.read_bytes())


def keep_agent(run: RunFolder, strategy: Strategy, space: SearchSpace) -> None:
    """Write the trained agent into the run folder, where the strategy has one that other budgets can begin with."""
    if isinstance(strategy, DdpgMultiStrategy):
        save_agent(run.agent, strategy.agent, space.steps)
