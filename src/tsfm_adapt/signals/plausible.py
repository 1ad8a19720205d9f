"""Vital signs by the names of channels, with physiologically possible ranges.

The ranges remove artefacts; they are no reference ranges of health. They are wide enough for
children and for the dying, after the outlier tables with which benchmarks clean MIMIC (Harutyunyan
et al., Scientific Data 6:96, 2019). Where a monitor writes 0 for no signal, 0 lies outside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.units import Quantity, convert

Range = tuple[float, float]


@dataclass(frozen=True)
class Vital:
    """One vital sign: names of its channels, possible range, and usual values by unit.

    `usual` holds the range of an hour's median in each unit, from which a unit that is not stated
    is guessed.
    """

    quantity: str
    names: str  # regular expression on a name's letters and digits, in lower case
    limits: Range  # in the first unit of `usual`
    usual: Mapping[str, Range]

    @property
    def unit(self) -> str:
        """The unit of `limits`."""
        return next(iter(self.usual))

    def limits_in(self, unit: str) -> Range | None:
        """The limits in another unit; None = not a unit of this quantity."""
        substance: Quantity | None = "glucose" if self.quantity == "glucose" else None
        try:
            scale, offset = convert(self.unit, unit, substance)
        except DataError:
            return None
        low, high = (float(f"{value * scale + offset:.3g}") for value in self.limits)
        return low, high

    def unit_of(self, median: float) -> str | None:
        """The unit in which this median is usual; None = none, or several."""
        fitting = [unit for unit, (low, high) in self.usual.items() if low <= median <= high]
        return fitting[0] if len(fitting) == 1 else None


_SITE = "(ni|nbp|nibp|ibp|abp|art|bp|p)"
_PRESSURE = "(abp|nibp|nbp|bp|bloodpressure|pressure|arterialpressure|art)"

_VITALS = (
    Vital(
        "heart rate",
        "(ecg|spo2|ppg|pleth|art|abp)?(hr|hrate|heartrate|pulse|pulserate|pr|hrspo2)|puls"
        "|herzfrequenz",
        (10, 350),
        {"1/min": (25, 240)},
    ),
    Vital(
        "breathing rate",
        "(co2|etco2|imp)?(resp|rr|resprate|respiratoryrate|respirationrate|respiration"
        "|breathingrate|awrr)",
        (1, 150),
        {"1/min": (4, 90)},
    ),
    Vital(
        "oxygen saturation",
        "(pleth)?(spo2|sao2|o2sat|osat|oxygensaturation|pulseox|sat|sats)",
        (20, 100),
        {"%": (50, 100)},
    ),
    Vital(
        "systolic pressure",
        f"{_SITE}?(sys|systolic|sbp){_PRESSURE}?",
        (20, 375),
        {"mmHg": (50, 250), "kPa": (6, 33)},
    ),
    Vital(
        "diastolic pressure",
        f"{_SITE}?(dia|dias|diastolic|dbp){_PRESSURE}?",
        (5, 375),
        {"mmHg": (20, 160), "kPa": (2.5, 19)},
    ),
    Vital(
        "mean pressure",
        f"(ni)?(map|mbp)|{_SITE}mean|(ni)?mean{_PRESSURE}|(ni)?abpm|nibpm",
        (10, 375),
        {"mmHg": (30, 200), "kPa": (4, 27)},
    ),
    Vital("arterial pressure", "(abp|art|ibp)[0-9]?", (5, 375), {"mmHg": (30, 250)}),
    Vital(
        "temperature",
        "(skin|body|core|rectal|bladder|oral|axillary)?(temp|temperature)"
        "(c|f|celsius|skin|body|core|rectal|bladder|oral)?",
        (15, 45),
        {"degC": (18, 43), "degF": (75, 110)},
    ),
    Vital(
        "glucose",
        "gl|glu|cgm|bg|sgv|(blood|sensor|interstitial|gewebe)?glu[ck]ose(level|value)?",
        (10, 1500),
        {"mg/dL": (40, 600), "mmol/L": (2.2, 33)},
    ),
    Vital("skin conductance", "eda|gsr|skinconductance", (0, 100), {"uS": (0.01, 60)}),
    Vital("end-tidal carbon dioxide", "et(co2)?|endtidalco2", (1, 150), {"mmHg": (10, 100)}),
    Vital("inspired oxygen", "fio2", (0.15, 1), {"1": (0.19, 1)}),
    Vital("pH", "(arterial)?ph", (6.3, 8.4), {"1": (6.6, 7.9)}),
)


def vital(name: str) -> Vital | None:
    """The vital sign that a channel of this name measures, such as 'Heart Rate (bpm)'; or None.

    A waveform may share its name with a numeric, as RESP does: the caller checks the unit with
    `limits_in`.
    """
    plain = re.sub(r"[(\[].*", "", name).casefold()
    letters = re.sub(r"[^a-z0-9]", "", plain)
    return next((known for known in _VITALS if re.fullmatch(known.names, letters)), None)


def substance(name: str) -> Quantity | None:
    """The substance that a channel of this name measures, as conversions need it."""
    known = vital(name)
    return "glucose" if known is not None and known.quantity == "glucose" else None
