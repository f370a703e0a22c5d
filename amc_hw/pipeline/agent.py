"""The agent of a run: what it began with is kept, and what it trained is left for searches of other budgets."""

from __future__ import annotations

from pathlib import Path

from amc_hw.runs.files import write_bytes
from amc_hw.runs.folder import RunFolder
from amc_hw.search.agent_file import save_agent
from amc_hw.search.ddpg_strategies import DdpgMultiStrategy
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Strategy


def keep_first_agent(run: RunFolder, file: Path | None) -> None:
    """Copy the agent that the search begins with into the run folder, where there is one."""
    if file is not None and file != run.first_agent:
        write_bytes(run.first_agent, file.read_bytes())


def keep_agent(run: RunFolder, strategy: Strategy, space: SearchSpace) -> None:
    """Write the trained agent into the run folder, where the strategy has one that other budgets can begin with."""
    if isinstance(strategy, DdpgMultiStrategy):
        save_agent(run.agent, strategy.agent, space.steps)
