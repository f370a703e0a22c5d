"""The agent that a run begins with: whose it is, and the copy that the run keeps of it."""

from __future__ import annotations

from pathlib import Path

from amc_hw.errors import UsageError
from amc_hw.runs.config import RunConfig
from amc_hw.runs.files import write_bytes
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.names import AGENT_STRATEGY, require_agent_strategy


def agent_file(run: RunFolder, config: RunConfig) -> Path | None:
    """Return the file of the agent that the search begins with; None where it begins with a fresh one.

    Raises:
        UsageError: the strategy takes no agent, the run that is named has none, or there are rounds.
    """
    if config.agent is None:
        return None
    require_agent_strategy(config.strategy)
    if config.rounds:
        raise UsageError("later rounds choose from fewer channels than the agent knows; leave agent= or rounds= out.")
    if run.first_agent.exists():
        return run.first_agent
    file = RunFolder(Path(config.agent)).agent
    if not file.exists():
        raise UsageError(
            f"{file} does not exist; agent= names the folder of a run that has searched with strategy={AGENT_STRATEGY}."
        )
    return file


def keep_first_agent(run: RunFolder, file: Path | None) -> None:
    """Copy the agent that the search begins with into the run folder, where there is one."""
    if file is not None and file != run.first_agent:
        write_bytes(run.first_agent, file.read_bytes())
