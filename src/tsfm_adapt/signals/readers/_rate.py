"""Rates in a reader's configuration."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field


def _number(value: object) -> object:
    """'1/60' as a number; anything else is left to pydantic."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except ZeroDivisionError:
            raise ValueError("divides by zero") from None
    return value


RateHz = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
