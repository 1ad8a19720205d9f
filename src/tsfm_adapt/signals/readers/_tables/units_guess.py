"""Units that a table does not state, or states once for values in two units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.signals.plausible import Vital, vital
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.units import canonical

_BOTH = 0.05  # share of a subject's values in a second unit's usual range


def unit_doubts(
    name: str,
    unit: str,
    value: FloatArray,
    subject: Sequence[str],
    settings: dict[str, JsonValue],
) -> list[str]:
    """That some subjects' values, or some values, are in another unit than the rest.

    Only quantities whose usual values in two units lie apart are judged: glucose in mg/dL and
    mmol/L, pressures in mmHg and kPa, temperatures in degC and degF.

    Args:
        name: of the channel.
        unit: that the table states; '1' = none.
        value: (N,) of the rows looked at; NaN = missing.
        subject: (N,) of each row.
        settings: `units_by_subject` is added where it decides.
    """
    known = vital(name)
    if known is None or len(known.usual) < 2:
        return []
    names, which = np.unique(np.asarray(subject), return_inverse=True)
    units: dict[str, str] = {}
    for number, person in enumerate(names.tolist()):
        own = value[which == number]
        own = own[np.isfinite(own) & (own != 0)]
        if not own.size:
            continue
        shares = {
            u: float(((own >= low) & (own <= high)).mean())
            for u, (low, high) in known.usual.items()
        }
        both = [u for u, share in shares.items() if share > _BOTH]
        if len(both) > 1 and max(shares.values()) < 1 - _BOTH:
            return [_mixed(name, person, both, own, known)]
        usual = known.unit_of(float(np.median(own)))
        if usual is not None:
            units[person] = usual
    return _apart(name, unit, units, settings)


def _apart(
    name: str, unit: str, units: dict[str, str], settings: dict[str, JsonValue]
) -> list[str]:
    """That subjects have different units; the settings say which."""
    kinds = sorted(set(units.values()), key=list(units.values()).count, reverse=True)
    stated = canonical(unit) if unit != "1" else None
    if len(kinds) < 2:
        return []
    most = stated if stated in kinds else kinds[0]
    others = {person: own for person, own in units.items() if own != most}
    shown = ", ".join(list(others)[:6]) + (", ..." if len(others) > 6 else "")
    by_subject = settings.setdefault("units_by_subject", {})
    assert isinstance(by_subject, dict)
    for person, own in others.items():
        entry = by_subject.setdefault(person, {})
        assert isinstance(entry, dict)
        entry[name] = own
    stated_units = settings.get("units")
    if isinstance(stated_units, dict) and stated_units.get(name) == "1":
        stated_units[name] = most
    return [
        f"'{name}' has two units in one column: by their medians {len(others)} of {len(units)} "
        f"subjects ({shown}) have {' and '.join(sorted(set(others.values())))}, the others {most}."
    ]


def _mixed(name: str, person: str, units: Sequence[str], own: FloatArray, known: Vital) -> str:
    low, high = (f"{np.quantile(own, q):.3g}" for q in (0.02, 0.98))
    return (
        f"'{name}' of '{person}' has values usual for {' and for '.join(units)} ({low} to {high}) "
        f"in one record: split it in the file, or leave it out of data.reader.units "
        f"({known.quantity})."
    )
