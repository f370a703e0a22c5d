"""What a number in a record may be, and what a record holds that only people read."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, JsonValue, WrapValidator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from amc_hw.runs.simulated import tell_simulated


def _as_given(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Check a number, and let a whole one stay whole: 12, not 12.0."""
    checked = check(value)
    return value if isinstance(value, int) else checked


# Bounds far outside of anything real: they keep damaged numbers out of the arithmetic.
Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False), WrapValidator(_as_given)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False), WrapValidator(_as_given)]
Positive = Annotated[float, Field(ge=1e-9, le=1e15, allow_inf_nan=False), WrapValidator(_as_given)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), WrapValidator(_as_given)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Channels = dict[str, Count]
Facts: TypeAlias = dict[str, JsonValue]
"""Names with values of any kind, for people to read and for programs to compare."""
DeviceFacts = Annotated[Facts, BeforeValidator(tell_simulated)]
"""A device's fingerprint."""
