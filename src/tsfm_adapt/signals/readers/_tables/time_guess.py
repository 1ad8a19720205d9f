"""In which form an unknown column states times: every form that fits, and the likeliest.

01/02/2020 is a day of January or of February: the form is right in which the file's rows go
forward in time and span less; where that does not decide, nothing does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product

import numpy as np

from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.spelling import Column, Spelling
from tsfm_adapt.signals.readers._tables.times import DAY_S, seconds_of_clock, unit_in_name
from tsfm_adapt.signals.recording import FloatArray, IntArray

_UNIX = {"unix": 1.0, "unix_ms": 1e3, "unix_us": 1e6, "unix_ns": 1e9}
_UNIX_UNITS = {"unix": "seconds", "unix_ms": "milliseconds", "unix_us": "microseconds"}
_UNIX_S = (2.0e8, 9.9e9)  # 1976 to 2283
_EXCEL, _MATLAB = (20_000.0, 80_000.0), (710_000.0, 800_000.0)  # 1954 to 2119; 1943 to 2190
_SLOW_S, _FAST_S = 4 * 3600.0, 1e-4  # intervals at which hardly anybody samples
_MONTH = r"[A-Za-zäéûÄ]{3,9}\.?"
_DATE = re.compile(rf"(\d{{1,4}}|{_MONTH})([/.\- ])(\d{{1,2}}|{_MONTH})(,? |[/.\-])(\d{{1,4}})")
_JOINED = re.compile(rf"\d{{1,2}}({_MONTH})(\d{{4}}|\d{{2}})([: T])(\d{{2}}:\d{{2}}(:\d{{2}})?)")
_CLOCK = re.compile(
    r"(\d{1,2}):(\d{2})(:(\d{2})([.,]\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?(\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2}))?"
)


@dataclass(frozen=True)
class TimeForm:
    """How a column states times."""

    format: str
    kind: str  # stamp, date, clock, elapsed
    doubt: str = ""  # why it may be otherwise


def form_of(
    name: str, cells: Column, group: IntArray, spelling: Spelling | None = None
) -> TimeForm | None:
    """The form of a column (N,); None = it is no time.

    Args:
        name: of the column.
        cells: all of them.
        group: (N,) rows of one number are of one file and subject.
        spelling: of numbers.
    """
    if cells.dtype.kind == "M":
        return TimeForm("auto", "stamp")
    if cells.dtype.kind == "m":
        return TimeForm("auto", "elapsed")
    text = np.char.strip(cells.astype(np.str_))
    if not len(text) or (text == "").any():
        return None
    numbers = [*map((spelling or Spelling()).plain, text.tolist())]
    if None not in numbers:
        return _numeric(name, np.array(numbers, dtype=np.float64), text, group)
    distinct = np.unique(text).tolist()
    if all(map(_is_clock, distinct)):
        return TimeForm("clock", "clock")
    if all(map(_is_iso, distinct)):
        long = any(":" in cell for cell in distinct)
        return TimeForm("auto", "stamp" if long else "date")
    return _patterned(text, distinct, group)


def date_and_clock(date: Column, clock: Column, group: IntArray) -> TimeForm | None:
    """The form of a date's column and a clock's, both (N,) text, joined by a blank."""
    days = np.unique(date).tolist()
    clocks = np.unique(clock).tolist()
    if all(map(_is_iso, days)) and all(map(_is_clock, clocks)):
        return TimeForm("auto", "stamp")
    both = np.char.add(np.char.add(date, " "), clock)
    return _patterned(both, np.unique(both).tolist(), group)


def _numeric(name: str, number: FloatArray, text: Column, group: IntArray) -> TimeForm | None:
    """The form of numbers: by the name's unit, by the calendar's ranges, else seconds."""
    some = text[:1000].tolist()
    if all(re.fullmatch(r"(19|20)\d{6}", cell) and _is_iso(cell) for cell in some):
        return TimeForm("iso", "date")
    for length, pattern in ((12, "%Y%m%d%H%M"), (14, "%Y%m%d%H%M%S")):
        compact = all(len(cell) == length and cell[:2] in ("19", "20") for cell in some)
        if compact and _parsed(text, pattern) is not None:
            return TimeForm(pattern, "stamp")
    low, high = float(number.min()), float(number.max())
    unit = unit_in_name(name)
    for form, scale in _UNIX.items():
        if (
            _UNIX_S[0] * scale <= low
            and high <= _UNIX_S[1] * scale
            and unit in (None, _UNIX_UNITS.get(form))
        ):
            return TimeForm(form, "stamp")
    if unit is not None:
        return TimeForm(unit, "elapsed")
    if vocabulary.plain(name) in vocabulary.DATES and _is_in(number, _EXCEL) and _whole(number):
        return TimeForm("excel", "stamp")
    for form, (least, most) in (("excel", _EXCEL), ("matlab", _MATLAB)):
        if least <= low and high <= most and _are_days(number, text):
            return TimeForm(form, "stamp")
    step = _usual_step(number, group)
    if step >= _SLOW_S and (number == np.round(number)).all():
        likely = "milliseconds" if (number % 1000 == 0).mean() > 0.5 or step >= 3e5 else "seconds"
        return TimeForm(
            likely,
            "elapsed",
            f"'{name}' states no unit, and rows would be {step / 3600:.3g} h apart in seconds "
            f"({step / 3.6e6:.3g} h in milliseconds): set data.reader.time_format",
        )
    if 0 < step < _FAST_S:
        return TimeForm(
            "days",
            "elapsed",
            f"'{name}' states no unit, and would be sampled at {1 / step:.4g} Hz in seconds "
            f"(every {step * DAY_S:.3g} s in days): set data.reader.time_format",
        )
    return TimeForm("auto", "elapsed")


def _whole(number: FloatArray) -> bool:
    return bool((number == np.round(number)).all())


def _is_in(number: FloatArray, limits: tuple[float, float]) -> bool:
    return bool(number.min() >= limits[0] and number.max() <= limits[1])


def _are_days(number: FloatArray, text: Column) -> bool:
    """True if fractions are those of days: whole seconds, of numbers with enough digits."""
    digits = [len(re.sub(r"^[^.,]*[.,]?", "", cell)) for cell in text[:1000].tolist()]
    if max(digits) < 3:
        return False
    seconds = number * DAY_S
    tolerance_s = max(0.6 * DAY_S * 10.0 ** -max(digits), 0.02)
    return bool((np.abs(seconds - np.round(seconds)) <= tolerance_s).all())


def _usual_step(number: FloatArray, group: IntArray) -> float:
    """The median of the steps between rows of a group; 0 = there are too few."""
    step = np.diff(number)[np.diff(group) == 0]
    step = np.abs(step[step != 0])
    return float(np.median(step)) if step.size >= 20 else 0.0


def _is_clock(cell: str) -> bool:
    try:
        seconds_of_clock(cell)
    except ValueError:
        return False
    return True


def _is_iso(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        return False
    return True


def _patterned(text: Column, distinct: Sequence[str], group: IntArray) -> TimeForm | None:
    """The strptime pattern that fits all cells."""
    patterns = _patterns(distinct[0]) or _patterns(distinct[-1])
    fitting: list[tuple[str, IntArray]] = []
    for pattern in patterns:
        times = _parsed(text, pattern)
        if times is not None:
            fitting.append((pattern, times))
    if not fitting:
        return None
    judged = sorted((_disorder(times, group), _extent(times), p) for p, times in fitting)
    (back, span, best), *others = judged
    kind = "stamp" if "%H" in best or "%I" in best else "date"
    doubt = ""
    for other_back, other_span, other in others:
        if other_back == back and other_span <= 2 * max(span, 1.0):
            doubt = (
                f"'{text[0]}' is {datetime.strptime(text[0], best):%d %B %Y} ({best}) or "
                f"{datetime.strptime(text[0], other):%d %B %Y} ({other}), and no row decides: set "
                "data.reader.time_format"
            )
    return TimeForm(best, kind, doubt)


def _patterns(cell: str) -> list[str]:
    """The patterns that a cell may have."""
    date = _DATE.match(cell)
    joined = _JOINED.fullmatch(cell)
    if joined is not None:  # 06MAR2023:20:00:00, as SAS writes it
        year = "%Y" if len(joined[2]) == 4 else "%y"
        return [f"%d{_month(joined[1])}{year}{joined[3]}{'%H:%M:%S' if joined[5] else '%H:%M'}"]
    if date is None:
        compact = re.fullmatch(r"\d{8}[ T_-]?(\d{2}:?\d{2}(:?\d{2})?)", cell)
        if compact is None:
            return []
        separator = re.sub(r"\d|:", "", cell)
        digits = "%H:%M:%S" if cell.count(":") == 2 else "%H:%M" if ":" in cell else "%H%M%S"
        return [f"%Y%m%d{separator}{digits}"]
    one, mark, two, mark2, three = date.groups()
    rest = cell[date.end() :]
    dates = _dates(one, two, three)
    if not rest:
        return [f"{a}{mark}{b}{mark2}{c}" for a, b, c in dates]
    gap = re.match(r"[ T,]+|:|-", rest)
    clock = _CLOCK.fullmatch(rest[gap.end() :] if gap else rest)
    if clock is None or gap is None:
        return []
    return [
        f"{a}{mark}{b}{mark2}{c}{gap.group()}{own}"
        for (a, b, c), own in product(dates, [_clock_pattern(clock)])
    ]


def _dates(one: str, two: str, three: str) -> list[tuple[str, str, str]]:
    """Orders of day, month and year that three parts may have."""
    year = "%Y" if len(three) == 4 else "%y"
    if not one[0].isdigit():
        return [(_month(one), "%d", year)]
    if not two[0].isdigit():
        return [("%d", _month(two), year)] if len(one) < 3 else [("%Y", _month(two), "%d")]
    if len(one) == 4:
        return [("%Y", "%m", "%d"), ("%Y", "%d", "%m")]
    orders = [("%d", "%m", year), ("%m", "%d", year)]
    return orders if len(three) == 4 else [*orders, ("%y", "%m", "%d")]


def _month(name: str) -> str:
    return "%b" if len(name.rstrip(".")) == 3 else "%B"


def _clock_pattern(clock: re.Match[str]) -> str:
    _, _, seconds, _, fraction, half, zone, _ = clock.groups()
    pattern = "%I:%M" if half else "%H:%M"
    pattern += ":%S" if seconds else ""
    pattern += f"{fraction[0]}%f" if fraction else ""
    pattern += f"{half[: len(half) - len(half.lstrip())]}%p" if half else ""
    if zone and zone.strip() in ("UTC", "GMT"):
        return pattern + zone
    return pattern + (f"{zone[: len(zone) - len(zone.lstrip())]}%z" if zone else "")


def _parsed(text: Column, pattern: str) -> IntArray | None:
    """Microseconds (N,); None = a cell does not fit."""
    import pandas as pd

    try:
        read = pd.to_datetime(pd.Series(text), format=pattern, errors="coerce", utc=True)
    except ValueError:
        return None
    if read.isna().any():
        return None
    return read.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)


def _disorder(times: IntArray, group: IntArray) -> float:
    """The smaller share of steps within groups that go back, or forward, rounded."""
    step = np.diff(times)[np.diff(group) == 0]
    if not step.size:
        return 0.0
    return round(min(float((step < 0).mean()), float((step > 0).mean())), 2)


def _extent(times: IntArray) -> float:
    """Days from the first to the last."""
    return float(np.ptp(times)) / 1e6 / DAY_S
