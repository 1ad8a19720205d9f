"""A SYNTHETIC cohort: simulated vital signs with known couplings between the channels.

No value comes from a patient. Each subject has a baseline, a 24-hour rhythm, mean-reverting noise
with a fast and a slow time constant, a breathing oscillation of its own period (25-60 min), and
events of fixed shape:

    event             channel   course
    hypoventilation   RESP      falls within 4 min, holds to 10 min, recovers (time constant 5 min)
    hypotension       MAP       falls within 5 min, holds to 25 min, recovers (time constant 8 min)

They are marked as spans from their onset until a tenth of the fall is left. A third kind of span,
`deterioration`, is an outcome and a target for early warning: at least 5 minutes in a row in which
the true MAP, as a perfect monitor would show it, is below 65 mmHg. In 24 h recordings one begins
within 6 h of about a third of the 12 h stretches that do not end in one.

A channel's difference from its baseline and rhythm reappears later in another channel, so that
some of the next half hour is visible in advance (the numbers are `COUPLINGS`; they are invented):

    driver  follower   lag      gain
    RESP    SpO2       12 min   +0.6 % per breath/min: hypoventilation ends in desaturation
    RESP    MAP        25 min   +2.2 mmHg per breath/min
    MAP     HR         20 min   -0.9 bpm per mmHg: the heart races after hypotension

The monitor adds noise, rounds, loses stretches (NaN), reads 0 with the sensor off (HR, PULSE,
SpO2) and spikes for single samples (RESP, MAP).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from tsfm_adapt.signals.readers._rate import RateHz
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import BoolArray, FloatArray, Recording, Span


@dataclass(frozen=True)
class Coupling:
    """follower(t) += gain * (driver minus its baseline and rhythm)(t - lag_s)."""

    driver: str
    follower: str
    lag_s: float
    gain: float  # follower's unit per driver's unit


COUPLINGS = (
    Coupling("RESP", "SpO2", lag_s=720.0, gain=0.6),
    Coupling("RESP", "MAP", lag_s=1500.0, gain=2.2),
    Coupling("MAP", "HR", lag_s=1200.0, gain=-0.9),  # after RESP -> MAP: the chain is RESP-MAP-HR
)


class Config(ReaderConfig):
    """Simulates subjects; a seed gives the same first subjects whatever their number."""

    name: Literal["synthetic"] = "synthetic"
    cohort: Literal["icu_vitals"] = Field(
        "icu_vitals", description="HR, SpO2, RESP, MAP, PULSE, Temp"
    )
    subjects: int = Field(40, ge=1, description="one recording each")
    hours: float = Field(24.0, gt=0, description="length of each recording")
    rate_hz: RateHz = Field(1 / 60, ge=1 / 300, description="below 1/300 the lags would vanish")
    missing: float = Field(0.05, ge=0, lt=1, description="share of samples lost in drop-outs")
    seed: int = Field(0, ge=0, description="of the cohort; independent of the recipe's seed")

    @property
    def synthetic(self) -> bool:
        """True."""
        return True

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the subjects in order; all channels are simulated, the named ones returned."""
        samples = max(1, round(self.hours * 3600 * self.rate_hz))
        wanted = [name for name in channels or _CHANNELS if name in _CHANNELS]
        for number in range(self.subjects):
            # Three streams: another share of missing values leaves all else as it is.
            body, monitor, cables = (
                np.random.default_rng([self.seed, number, stream]) for stream in range(3)
            )
            start_s = 60.0 * body.integers(24 * 60)
            true, events = _physiology(body, samples, self.rate_hz, start_s)
            shown = {
                name: _measured(monitor, values, name, self.rate_hz)
                for name, values in true.items()
            }
            for values in shown.values():
                values[_stretches(cables, samples, 600 * self.rate_hz, self.missing)] = np.nan
            yield Recording(
                id=f"{self.cohort}-{number:04d}",
                subject=f"{self.cohort}-{number:04d}",
                values=np.array([shown[name] for name in wanted]).reshape(-1, samples),
                channels=tuple(wanted),
                units=tuple(_CHANNELS[name].unit for name in wanted),
                rate_hz=self.rate_hz,
                start=np.datetime64("2000-01-01T00:00:00") + np.timedelta64(int(start_s), "s"),
                spans=tuple(
                    sorted(
                        (*events, *_deteriorations(true, self.rate_hz)),
                        key=lambda span: span.start_s,
                    )
                ),
                attributes={
                    "synthetic": "yes",
                    "age": float(body.integers(20, 90)),
                    "sex": str(body.choice(["F", "M"])),
                },
            )


@dataclass(frozen=True)
class _Channel:
    unit: str
    baseline: float
    between_subjects: float  # standard deviation of the baseline
    rhythm: float  # amplitude over 24 hours, highest in the afternoon
    fast: float  # standard deviation of the mean-reverting noise
    fast_s: float  # and its time constant
    slow: float  # the same with a time constant of two hours
    monitor: float  # standard deviation of the measuring noise
    step: float  # of the display


_CHANNELS = {
    "HR": _Channel("bpm", 85, 8, 4.0, 0.7, 600, 0.5, 0.5, 1.0),
    "SpO2": _Channel("%", 95, 0.7, 0.2, 0.2, 900, 0.1, 0.2, 1.0),
    "RESP": _Channel("breaths/min", 19, 2, 0.8, 2.0, 1200, 0.5, 0.3, 1.0),
    "MAP": _Channel("mmHg", 84, 6, 3.0, 1.0, 1200, 0.6, 0.5, 1.0),
    "PULSE": _Channel("bpm", 0, 0, 0.0, 0.0, 600, 0.0, 1.0, 1.0),  # HR, measured elsewhere
    "Temp": _Channel("degC", 37.1, 0.3, 0.3, 0.05, 3600, 0.15, 0.03, 0.1),
}
_SLOW_S = 7200.0
_LEAD_S = 7200.0  # simulated and discarded: every lag and event has a past


@dataclass(frozen=True)
class _Event:
    label: str
    channel: str
    depth: float
    per_hour: float
    fall_s: float
    hold_s: float
    recovery_s: float

    @property
    def length_s(self) -> float:
        """From the onset until about a tenth of the depth is left."""
        return self.hold_s + 2.3 * self.recovery_s

    def course(self, since_s: FloatArray) -> FloatArray:
        """The course at times since the onset, -1 at its lowest."""
        fall = np.clip(since_s / self.fall_s, 0.0, 1.0)
        left = np.exp(-np.clip(since_s - self.hold_s, 0.0, None) / self.recovery_s)
        return np.asarray(-fall * left, dtype=np.float64)


_EVENTS = (
    _Event("hypoventilation", "RESP", 5.0, 0.3, fall_s=240, hold_s=600, recovery_s=300),
    _Event("hypotension", "MAP", 12.0, 0.15, fall_s=300, hold_s=1500, recovery_s=480),
)

_LOW_MMHG, _LOW_S = 65.0, 300.0  # deterioration: MAP is lower, for so long


def _physiology(
    rng: np.random.Generator, samples: int, rate_hz: float, start_s: float
) -> tuple[dict[str, FloatArray], tuple[Span, ...]]:
    """The true channels, (T,) each, and the events."""
    lead = round(_LEAD_S * rate_hz)
    time_s = np.arange(-lead, samples) / rate_hz
    excursion = {  # from baseline and rhythm
        name: _mean_reverting(rng, len(time_s), channel.fast_s * rate_hz, channel.fast)
        + _mean_reverting(rng, len(time_s), _SLOW_S * rate_hz, channel.slow)
        for name, channel in _CHANNELS.items()
    }
    amplitude, period_s, phase = rng.uniform([0.4, 1500, 0], [2.0, 3600, 2 * np.pi])
    excursion["RESP"] += amplitude * np.sin(2 * np.pi * time_s / period_s + phase)
    spans = _add_events(rng, time_s, excursion)
    for coupling in COUPLINGS:
        shift = round(coupling.lag_s * rate_hz)
        excursion[coupling.follower][shift:] += (
            coupling.gain * excursion[coupling.driver][: len(time_s) - shift]
        )
    afternoon_s = rng.normal(16 * 3600, 3600)
    rhythm = np.cos(2 * np.pi * (time_s + start_s - afternoon_s) / 86400)
    true = {
        name: rng.normal(c.baseline, c.between_subjects) + c.rhythm * rhythm + excursion[name]
        for name, c in _CHANNELS.items()
    }
    true["PULSE"] = true["HR"]
    return {name: values[lead:] for name, values in true.items()}, spans


def _add_events(
    rng: np.random.Generator, time_s: FloatArray, excursion: Mapping[str, FloatArray]
) -> tuple[Span, ...]:
    """Adds events at random times to the channels; returns those after time 0 as spans."""
    begin_s, end_s = time_s[0], time_s[-1]
    spans = []
    for event in _EVENTS:
        count = rng.poisson(event.per_hour * (end_s - begin_s) / 3600)
        for onset_s in rng.uniform(begin_s, end_s, count).tolist():
            depth = event.depth * rng.uniform(0.6, 1.3)
            excursion[event.channel] += depth * event.course(time_s - onset_s)
            first_s, last_s = max(onset_s, 0.0), min(onset_s + event.length_s, float(end_s))
            if first_s < last_s:
                spans.append(Span(first_s, last_s, event.label))
    return tuple(sorted(spans, key=lambda span: span.start_s))


def _deteriorations(true: Mapping[str, FloatArray], rate_hz: float) -> Iterator[Span]:
    """The stretches of `_LOW_S` and more in which the true MAP is too low."""
    edges = np.flatnonzero(np.diff(true["MAP"] < _LOW_MMHG, prepend=False, append=False))
    for first, stop in edges.reshape(-1, 2).tolist():
        if (stop - first) / rate_hz >= _LOW_S - 1e-6:
            yield Span(first / rate_hz, stop / rate_hz, "deterioration")


def _measured(rng: np.random.Generator, true: FloatArray, name: str, rate_hz: float) -> FloatArray:
    """What the monitor shows of a channel (T,), with noise and artefacts."""
    channel = _CHANNELS[name]
    noisy = true + rng.normal(0, channel.monitor, len(true))
    shown = np.round(noisy / channel.step) * channel.step
    shown = np.clip(shown, 2.0, 100.0 if name == "SpO2" else None)
    spikes = rng.random(len(true)) < 5e-4
    if name in ("RESP", "MAP"):  # movement; flushing the arterial line
        shown[spikes] *= rng.uniform(1.8, 2.6)
    if name in ("HR", "PULSE", "SpO2"):
        shown[_stretches(rng, len(true), 180 * rate_hz, 0.003)] = 0.0
    return shown


def _mean_reverting(
    rng: np.random.Generator, samples: int, time_constant: float, std: float
) -> FloatArray:
    """An Ornstein-Uhlenbeck process (T,) in its stationary state; time constant in samples."""
    from pandas import Series

    kept = np.exp(-1 / time_constant)
    shocks = std * rng.standard_normal(samples)
    shocks[1:] *= np.sqrt(1 - kept**2) / (1 - kept)
    # y_t = kept y_(t-1) + (1 - kept) shock_t: an exponentially weighted mean
    return np.asarray(Series(shocks).ewm(alpha=1 - kept, adjust=False).mean(), dtype=np.float64)


def _stretches(
    rng: np.random.Generator, samples: int, mean_length: float, share: float
) -> BoolArray:
    """True (T,) in stretches of exponential length, covering `share` of the samples on average.

    The first may begin before the first sample.
    """
    before = 5 * mean_length  # stretches that began before the first sample
    count = rng.poisson(-np.log1p(-share) / mean_length * (samples + before))
    first = rng.uniform(-before, samples, count)
    last = first + rng.exponential(mean_length, count)
    number = np.arange(samples)
    covered = np.zeros(samples, dtype=np.bool_)
    for low, high in zip(first, last, strict=True):
        covered |= (number >= low) & (number < high)
    return covered
