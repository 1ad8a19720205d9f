"""Units of measurement: their spellings, and conversions `value * scale + offset`.

Pairs that are not listed are refused: a wrong unit would not show after the backbone's scaling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tsfm_adapt.errors import DataError, closest

Quantity = Literal["glucose"]


@dataclass(frozen=True)
class _Unit:
    """A unit by its dimension's base unit: base = `value * scale + offset`."""

    dimension: str
    scale: float
    offset: float
    aliases: tuple[str, ...]


_MMHG_IN_KPA = 0.133322387415
_GLUCOSE_MG_PER_MMOL = 180.156  # molar mass of C6H12O6, g/mol

_UNITS: Mapping[str, _Unit] = {
    "1/min": _Unit(
        "rate",
        1.0,
        0.0,
        # `pm`, per minute, is what WFDB numerics write for breaths and sometimes for beats
        ("pm", "bpm", "BPM", "/min", "min-1", "beats/min", "breaths/min", "brpm", "rpm"),
    ),
    "%": _Unit("percentage", 1.0, 0.0, ("percent", "pct")),
    "mmHg": _Unit("pressure", _MMHG_IN_KPA, 0.0, ("mmhg", "MMHG", "mm Hg")),
    "kPa": _Unit("pressure", 1.0, 0.0, ("kpa", "KPA")),
    "degC": _Unit("temperature", 1.0, 0.0, ("DegC", "°C", "C", "deg C", "celsius", "Celsius")),
    "degF": _Unit(
        "temperature", 5 / 9, -160 / 9, ("°F", "F", "deg F", "fahrenheit", "Fahrenheit")
    ),
    "mg/dL": _Unit("mass concentration", 1.0, 0.0, ("mg/dl", "mg/DL")),
    "mmol/L": _Unit("amount concentration", 1.0, 0.0, ("mmol/l", "mM")),
    "V": _Unit("voltage", 1.0, 0.0, ("volt", "volts")),
    "mV": _Unit("voltage", 1e-3, 0.0, ("mv",)),
    "uV": _Unit("voltage", 1e-6, 0.0, ("uv", "microvolt", "microvolts")),
    "s": _Unit("time", 1.0, 0.0, ("sec", "second", "seconds")),
    "ms": _Unit("time", 1e-3, 0.0, ("msec", "millisecond", "milliseconds")),
    "uS": _Unit("conductance", 1.0, 0.0, ("microsiemens",)),
    "NU": _Unit("no dimension", 1.0, 0.0, ("nu", "dimensionless", "unitless", "nd", "1")),
    # counts of an analog-to-digital converter whose gain is unknown: WFDB's name for them
    "adu": _Unit("uncalibrated counts", 1.0, 0.0, ("ADU",)),
    "L/min": _Unit("flow", 1.0, 0.0, ("l/min", "lpm")),
    "mL": _Unit("volume", 1.0, 0.0, ("ml",)),
}

_CANONICAL: Mapping[str, str] = {
    spelling: name for name, unit in _UNITS.items() for spelling in (name, *unit.aliases)
}


# The micro sign and the Greek letter; and UTF-8 of either that was decoded as Latin-1.
_MICRO = re.compile("\u00c2\u00b5|\u00ce\u00bc|\u00b5|\u03bc")


def plain_micro(unit: str) -> str:
    """The unit, with `u` for a micro sign however it was written and decoded."""
    return _MICRO.sub("u", unit)


# Factors by which values are off where a unit is not known, or known to be of no dimension.
_SLIPS = (1e3, 1e-3, 1e6, 1e-6)


@dataclass(frozen=True)
class Conversion:
    """From another unit: `value * scale + offset`."""

    name: str  # of the other unit, or what it does to values
    scale: float
    offset: float

    def __str__(self) -> str:
        return f"times {self.scale:.6g}" + (f" {self.offset:+.6g}" if self.offset else "")


def other_units(unit: str) -> tuple[Conversion, ...]:
    """What values that are said to have a unit may have instead, the likeliest first.

    Other units of the dimension, glucose by amount or mass, shares for percent; where the unit is
    not known or has no dimension, thousandths and millionths.
    """
    name = canonical(unit)
    known = _UNITS.get(name or "")
    if name is None or known is None or known.dimension == "no dimension":
        return tuple(Conversion("another unit", slip, 0.0) for slip in _SLIPS)
    same = [
        Conversion(other, *convert(other, name))
        for other, of in _UNITS.items()
        if of.dimension == known.dimension and other != name
    ]
    glucose = {"mg/dL": "mmol/L", "mmol/L": "mg/dL"}.get(name)
    if glucose is not None:
        same.append(Conversion(glucose, *convert(glucose, name, "glucose")))
    if known.dimension == "pressure":  # in pascal, which is no unit of the list
        same.append(Conversion("Pa", convert("kPa", name)[0] / 1000, 0.0))
    if name == "%":
        same.append(Conversion("a share", 100.0, 0.0))
    return tuple(same)


def canonical(unit: str) -> str | None:
    """The canonical name of a unit in any spelling; None = unknown unit."""
    return _CANONICAL.get(plain_micro(unit.strip()))


def convert(unit_from: str, unit_to: str, quantity: Quantity | None = None) -> tuple[float, float]:
    """Scale and offset that turn values in `unit_from` into values in `unit_to`.

    Args:
        unit_from: any spelling of a listed unit, or a text equal to `unit_to`.
        unit_to: likewise.
        quantity: the substance; needed between mg/dL and mmol/L.

    Raises:
        DataError: a unit is unknown, or the pair does not convert.
    """
    if plain_micro(unit_from.strip()) == plain_micro(unit_to.strip()):
        return 1.0, 0.0
    source, target = _lookup(unit_from), _lookup(unit_to)
    if source.dimension == target.dimension:
        return source.scale / target.scale, (source.offset - target.offset) / target.scale
    if {source.dimension, target.dimension} == {"mass concentration", "amount concentration"}:
        if quantity != "glucose":
            raise DataError(
                f"'{unit_from}' converts to '{unit_to}' only for a known substance, and only "
                f"glucose is known here. Keep the recording's unit, or name the channel 'glucose'."
            )
        mg_per_dl_in_mmol = 10 / _GLUCOSE_MG_PER_MMOL
        to_amount = target.dimension == "amount concentration"
        return (mg_per_dl_in_mmol if to_amount else 1 / mg_per_dl_in_mmol), 0.0
    raise DataError(
        f"'{unit_from}' is a unit of {source.dimension}, '{unit_to}' of {target.dimension}: "
        f"they do not convert. Correct the unit in the recipe, or state the files' unit with "
        f"from_unit."
    )


def _lookup(unit: str) -> _Unit:
    """A unit by any of its spellings."""
    name = canonical(unit)
    if name is None:
        shown = f"unit '{unit}' is unknown" if unit.strip() else "the unit is not stated"
        raise DataError(
            f"{shown}.{closest(unit, _CANONICAL)} Known: {', '.join(_UNITS)} and their usual "
            f"spellings; others are accepted only where files and recipe agree. Write one of "
            f"these in the recipe, and state the files' unit with from_unit."
        )
    return _UNITS[name]
