"""Several devices are refused where a command is for one, instead of the last one being taken."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from amc_hw.errors import UsageError


class Command(TyperCommand):
    """A command of the command line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command's arguments; raise UsageError where it is for one device, and is given several.

        Of other options the last one counts, as scripts expect that put their own before those of their users.
        """
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        several = [each for each in given if each.name == "device" and not getattr(each, "multiple", True)]
        if len(several) > 1:
            raise UsageError("--device is given twice; this command is for one device.")
        return super().parse_args(ctx, args)
