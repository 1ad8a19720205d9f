"""Times in the unit that reads best."""

from __future__ import annotations

# At least so many seconds: the unit's seconds, its name.
_UNITS = ((172800.0, 86400.0, "days"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (0, 1.0, "s"))


def time_unit(duration_s: float) -> tuple[float, str]:
    """The unit, in seconds and by name, in which an axis of such a length reads well."""
    return next((size, name) for least, size, name in _UNITS if duration_s >= least)


def duration(seconds: float) -> str:
    """Such as `3 h`."""
    size, unit = time_unit(seconds)
    return f"{seconds / size:.3g} {unit}"
