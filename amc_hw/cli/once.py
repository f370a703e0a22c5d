"""An option that is given twice is refused where one value is asked for, instead of the last one being taken."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from amc_hw.errors import UsageError


class Command(TyperCommand):
    """A command of the command line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command's arguments; raise UsageError where an option of one value is given twice."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in given:
            if given.count(parameter) > 1 and not getattr(parameter, "multiple", True):
                raise UsageError(f"{parameter.opts[0]} is given twice; this command takes one value.")
        return super().parse_args(ctx, args)
