"""Why a converter refuses a network, in words that help."""

from __future__ import annotations

from collections.abc import Iterator

from amc_hw.errors import first_line

_BRANCHES = "data-dependent"  # as torch.export calls a forward that looks into its tensors


def reason(error: BaseException) -> str:
    """Return why a converter failed: what the network does that no file can, or the first line of what it says."""
    if any(_BRANCHES in str(each).lower() for each in _causes(error)):
        return (
            "its forward chooses its way, or a size, by values that it computes (an if, or .item()), and a file has "
            "one way for all inputs; compute both ways and choose with torch.where, or export with one of them fixed."
        )
    return first_line(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
