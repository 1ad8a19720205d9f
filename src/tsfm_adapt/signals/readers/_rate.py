"""Sampling rates: as settings of readers, and as pandas' names of intervals."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field

from tsfm_adapt.errors import DataError

AGREE = 1e-3  # relative difference up to which two stated rates are the same

_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_NS |= {"D": 24 * _NS["h"], "W": 7 * 24 * _NS["h"]}
_NS |= {"N": 1, "U": _NS["us"], "L": _NS["ms"], "S": _NS["s"], "T": _NS["min"], "H": _NS["h"]}


def _number(value: object) -> object:
    """Turns '1/60' into a number; leaves anything else to pydantic."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except ZeroDivisionError:
            raise ValueError("divides by zero") from None
    return value


RateHz = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]


def frequency(rate_hz: float) -> str:
    """The sampling interval as pandas names it, in the largest unit that fits: `60s`, `8ms`.

    Intervals are rounded to whole nanoseconds.
    """
    nanoseconds = round(1e9 / rate_hz)
    for unit, length in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanoseconds % length == 0:
            return f"{nanoseconds // length}{unit}"
    return f"{nanoseconds}ns"


def rate_of(freq: str, where: str) -> float:
    """Samples a second, from pandas' name of the interval; old names are read too.

    Args:
        freq: such as `5min`, `h` or `W-SUN`.
        where: the file or setting that states it, for the error.

    Raises:
        DataError: not an interval of fixed length.
    """
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-[A-Z]{3})?", freq)
    number, unit = match.groups() if match else ("", "")
    if unit not in _NS or not int(number or 1):
        raise DataError(
            f"{where}: freq '{freq[:20]}' gives no fixed rate. Use one like 5min, h, D or W; "
            "months, quarters and business days differ in length and are not read."
        )
    return 1e9 / (int(number or 1) * _NS[unit])
