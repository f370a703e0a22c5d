"""The agent of a run: what it began with is kept, and what it trained is left for searches of other budgets."""

from __future__ import annotations

from pathlib import Path

from amc_hw.pipeline.settings import AGENT, FIRST_AGENT
from amc_hw.runs.files import write_bytes
from amc_hw.search.agent_file import save_agent
from amc_hw.search.ddpg_strategies import DdpgMultiStrategy
from amc_hw.search.space import SearchSpace
from amc_hw.search.strategy import Strategy


def keep_first_agent(run: Path, file: Path | None) -> None:
    """Copy the agent that the search begins with into the run folder, where there is one."""
    if file is not None and file != run / FIRST_AGENT:
        write_bytes(run / FIRST_AGENT, file.read_bytes())


def keep_agent(run: Path, strategy: Strategy, space: SearchSpace) -> None:
    """Write the trained agent into the run folder, where the strategy has one that other budgets can begin with."""
    if isinstance(strategy, DdpgMultiStrategy):
        save_agent(run / AGENT, strategy.agent, space.steps)
