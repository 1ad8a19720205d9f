"""Early warning by forecasts: detected episodes, false alarms, and lead times.

An *episode* is a run of measured values beyond a limit (MAP < 65 mmHg), gaps left aside, at least
as long as the recipe asks for; it begins at its *onset*, after a measured value that is not
beyond. A window is *at risk* where the channel is scored and the last measured value of its
context is not beyond: an alarm that is already on needs no forecast.

A model's *alarm score* for a window is the highest chance over the horizon's steps that the value
is beyond the limit, by its quantiles (the normal score of that chance is linear between them, and
as steep beyond them); of a point forecast, which has no chances, how far it goes towards the limit
and beyond. Scores are only compared with a threshold, so that both serve.

At a threshold, an episode is *detected* if a window at risk whose horizon holds the onset has a
higher score; the lead time is from the end of the first such context to the end of the step in
which the onset lies. A window at risk whose horizon holds no onset and that has a higher score is
a *false alarm*; those that begin within a horizon of one that was counted are counted with it. The
*monitored time* is the time in the horizons of windows at risk, each moment counted once.

Of every model the threshold is taken at which it has as many false alarms a day as are allowed,
on the windows that are scored. That is a point of the model's curve, for comparing models on the
same windows; it is no promise for a threshold that is set beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tsfm_adapt.evaluation.forecast_errors import ForecastErrors
from tsfm_adapt.evaluation.intervals import Interval, Pair, compared
from tsfm_adapt.evaluation.scores import AlarmScores, EventScores, ModelAlarms, Quartiles
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray
from tsfm_adapt.signals.windows import Windows

_FLAT = 1e-9  # quantiles closer than this, in data units, are one
_DAY_S = 86400.0


@dataclass(frozen=True)
class Event:
    """A channel beyond a limit for some samples in a row, such as MAP < 65 mmHg."""

    channel: str
    limit: float  # data units
    below: bool  # False = above it
    samples: int = 1  # measured ones in a row that make an episode

    def beyond(self, values: FloatArray) -> BoolArray:
        """Where the limit is crossed; False where not measured."""
        crossed: BoolArray = values < self.limit if self.below else values > self.limit
        return crossed

    def onsets(self, values: FloatArray) -> IntArray:
        """The first samples of the episodes of a channel (T,), NaN = not measured."""
        measured = np.flatnonzero(np.isfinite(values))
        beyond = self.beyond(values[measured])
        edges = np.flatnonzero(np.diff(beyond, prepend=False, append=False)).reshape(-1, 2)
        first, stop = edges[:, 0], edges[:, 1]
        return measured[first[(stop - first >= self.samples) & (first > 0)]]

    def at_risk(self, values: FloatArray, observed: BoolArray, scored: BoolArray) -> BoolArray:
        """Windows in which the event is not on already, (B,).

        Args:
            values: contexts of the channel, (B, T).
            observed: (B, T).
            scored: (B,) whether the channel is.
        """
        last = observed.shape[1] - 1 - np.argmax(observed[:, ::-1], axis=1)
        free = ~self.beyond(values[np.arange(len(values)), last])
        risk: BoolArray = scored & observed.any(axis=1) & free
        return risk

    def score(self, quantiles: FloatArray, levels: Sequence[float]) -> FloatArray:
        """Alarm scores (B,) of quantiles (B, Q, H) at increasing levels; higher = more likely."""
        q, level, limit = (
            np.sort(quantiles, axis=1).astype(np.float64),
            np.array(levels),
            self.limit,
        )
        if not self.below:  # the same of the values with the other sign
            q, level, limit = -q[:, ::-1], 1 - level[::-1], -limit
        if len(level) == 1:
            towards: FloatArray = (limit - q[:, 0]).max(axis=1)
            return towards
        chance = _normal_scores(q, level, limit)
        highest: FloatArray = chance.max(axis=1)
        return np.nan_to_num(highest, nan=-np.inf, posinf=np.inf, neginf=-np.inf)


@dataclass(frozen=True)
class AlarmErrors(ForecastErrors):
    """Errors of one model, with its alarm scores for E events."""

    alarm: FloatArray  # (W, E)
    at_risk: BoolArray  # (W, E)
    windows: Windows  # W


def summarise_events(
    errors: Mapping[str, AlarmErrors],
    events: Mapping[str, Event],
    units: Mapping[str, str],
    false_alarms_a_day: Sequence[float],
    seed: int = 0,
) -> dict[str, EventScores]:
    """Scores of warning by event: sensitivity, false alarms, lead times; None where undefined.

    Args:
        errors: by model, on the same windows.
        events: by name, in the order of `alarm`.
        units: by channel.
        false_alarms_a_day: those that are allowed; one point of the curve each.
        seed: of the resampling.
    """
    first = next(iter(errors.values()))
    summary = {}
    for number, (name, event) in enumerate(events.items()):
        course = _course(first.windows, first.at_risk[:, number], event)
        summary[name] = EventScores(
            event=_described(event, units[event.channel], first.windows),
            windows=len(course.risk),
            windows_before_onset=int(course.warned.sum()),
            windows_not_at_risk=course.others,
            episodes=len(course.onset),
            episodes_unforeseeable=course.unforeseeable,
            subjects=len(np.unique(course.subject)),
            monitored_days=course.days,
            threshold="of each model, at so many false alarms on these windows",
            models={
                model: course.scores(own.alarm[:, number], false_alarms_a_day, seed)
                for model, own in errors.items()
            },
        )
    return summary


@dataclass(frozen=True)
class _Course:
    """Windows at risk of one event and the episodes after them; the same for all models."""

    risk: IntArray  # (N,) windows at risk, ordered by recording and time
    origin: IntArray  # (N,) sample of the first step, recordings one after another
    horizon: int  # samples
    rate_hz: float
    onset: IntArray  # (K,) of the episodes that a window at risk could have seen coming
    subject: IntArray  # (K,) of the episodes, numbers from 0 on
    pair: tuple[IntArray, IntArray]  # (P,) places in `risk` and in `onset`: a horizon holds it
    unforeseeable: int  # episodes that no window at risk has in its horizon
    others: int  # windows that are not at risk

    @property
    def warned(self) -> BoolArray:
        """Windows at risk whose horizon holds an onset, (N,)."""
        holds = np.zeros(len(self.risk), dtype=bool)
        holds[self.pair[0]] = True
        return holds

    @property
    def days(self) -> float:
        """Monitored time in days."""
        if not len(self.origin):
            return 0.0
        until_next = np.minimum(np.diff(self.origin), self.horizon).sum() + self.horizon
        return float(until_next) / self.rate_hz / _DAY_S

    def scores(self, alarm: FloatArray, allowed: Sequence[float], seed: int) -> ModelAlarms:
        own = alarm[self.risk]
        return ModelAlarms(
            auroc=_auroc(own, self.warned),
            at={f"{rate:g}": self._at(own, rate, seed) for rate in allowed},
        )

    def _at(self, alarm: FloatArray, allowed: float, seed: int) -> AlarmScores:
        """Scores at the lowest threshold with at most `allowed` false alarms a day."""
        cut = self._threshold(alarm, allowed)
        raised = alarm > cut
        window, episode = self.pair
        seen = raised[window]
        detected = np.zeros(len(self.onset), dtype=bool)
        detected[episode[seen]] = True
        first = np.full(len(self.onset), np.iinfo(np.int64).max)
        np.minimum.at(first, episode[seen], self.origin[window[seen]])
        lead_s = (self.onset - first + 1)[detected] / self.rate_hz
        false = self._false_alarms(raised, len(alarm))
        low, high, interval = _interval(detected, self.subject, seed)
        return AlarmScores(
            sensitivity=float(detected.mean()) if len(detected) else None,
            low=low,
            high=high,
            interval=interval,
            detected=int(detected.sum()),
            false_alarms_a_day=false / self.days if self.days else None,
            lead_s=_quartiles(lead_s),
        )

    def _threshold(self, alarm: FloatArray, allowed: float) -> float:
        """The lowest threshold with at most `allowed` false alarms a day, by bisection."""
        most = int(np.floor(allowed * self.days + 1e-9))
        # -inf first: every score that is finite is an alarm.
        cuts = np.append(-np.inf, np.unique(alarm[~self.warned]))
        low, high = 0, len(cuts) - 1  # at the highest there is no false alarm
        while low < high:
            middle = (low + high) // 2
            if self._false_alarms(alarm > cuts[middle], most + 1) <= most:
                high = middle
            else:
                low = middle + 1
        return float(cuts[low])

    def _false_alarms(self, raised: BoolArray, most: int) -> int:
        """The number of false alarms, one per horizon; counting stops at `most`."""
        at = self.origin[raised & ~self.warned]
        count = place = 0
        while place < len(at) and count < most:
            place = int(np.searchsorted(at, at[place] + self.horizon))
            count += 1
        return count


def _course(windows: Windows, at_risk: BoolArray, event: Event) -> _Course:
    recording, origin = windows.recording, windows.start + windows.spec.context
    horizon = windows.spec.horizon
    rate_hz = windows.recordings[0].rate_hz
    channel = windows.recordings[0].channels.index(event.channel)
    # Recordings one after another, a horizon and more apart.
    lengths = np.array([r.samples + 2 * horizon for r in windows.recordings], dtype=np.int64)
    offset = np.cumsum(lengths) - lengths
    time = origin + offset[recording]
    used = np.unique(recording).tolist()
    onsets = [event.onsets(np.asarray(windows.recordings[r].values[channel])) for r in used]
    onset = np.concatenate([own + offset[r] for r, own in zip(used, onsets, strict=True)])
    of = np.repeat(np.array(used), [len(own) for own in onsets])
    order = np.argsort(time, kind="stable")
    every, risk = time[order], order[at_risk[order]]
    at = time[risk]
    reach = np.searchsorted(onset, at), np.searchsorted(onset, at + horizon)
    count = reach[1] - reach[0]
    window = np.repeat(np.arange(len(risk)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    episode = np.repeat(reach[0], count) + within
    seen = np.unique(episode)
    in_a_horizon = np.searchsorted(every, onset, side="right") > np.searchsorted(
        every, onset - horizon, side="right"
    )
    names = np.array([windows.recordings[r].subject for r in of.tolist()], dtype=str)
    return _Course(
        risk=risk,
        origin=at,
        horizon=horizon,
        rate_hz=rate_hz,
        onset=onset[seen],
        subject=np.unique(names[seen], return_inverse=True)[1].astype(np.int64),
        pair=(window, np.searchsorted(seen, episode)),
        unforeseeable=int(in_a_horizon.sum()) - len(seen),
        others=int((~at_risk).sum()),
    )


def _normal_scores(q: FloatArray, level: FloatArray, limit: float) -> FloatArray:
    """Normal scores (B, H) of the chance to be below, from quantiles (B, Q, H)."""
    from scipy.special import ndtri

    z = ndtri(level)
    upper = np.clip((q <= limit).sum(axis=1), 1, len(level) - 1)  # (B, H)
    rows, _, steps = np.ogrid[: q.shape[0], :1, : q.shape[2]]
    row, step = rows[:, 0], steps[:, 0]
    low, high = q[row, upper - 1, step], q[row, upper, step]
    slope = (z[upper] - z[upper - 1]) / np.maximum(high - low, _FLAT)
    scores: FloatArray = z[upper - 1] + (limit - low) * slope
    return scores


@dataclass(frozen=True)
class _Detected(Pair):
    """The share of episodes that were detected."""

    subject: IntArray
    detected: BoolArray  # (K,)

    def pooled(self) -> float:
        return float(self.detected.mean())

    def each(self) -> FloatArray:
        return np.bincount(self.subject, self.detected) / np.bincount(self.subject)

    def of_subjects(self, times: IntArray) -> FloatArray:
        hits = times @ np.bincount(self.subject, self.detected)
        share: FloatArray = hits / (times @ np.bincount(self.subject))
        return share

    def of_blocks(self, first: IntArray, length: int) -> FloatArray:
        running = np.append(0, np.cumsum(self.detected))
        share: FloatArray = (running[first + length] - running[first]).mean(axis=1) / length
        return share


def _interval(
    detected: BoolArray, subject: IntArray, seed: int
) -> tuple[float | None, float | None, Interval | None]:
    """A 95 % interval of the sensitivity at this threshold, over subjects: low, high, kind.

    None where no episode or every one was detected: draws of these would not differ.
    """
    if detected.all() or not detected.any():
        return None, None, None
    of = compared(_Detected(subject, detected), 1, seed)
    low, high = (None if v is None else min(max(v, 0.0), 1.0) for v in (of.low, of.high))
    return low, high, of.interval


def _quartiles(lead_s: FloatArray) -> Quartiles | None:
    if not len(lead_s):
        return None
    q25, median, q75 = np.percentile(lead_s, [25, 50, 75]).tolist()
    return {"median": median, "q25": q25, "q75": q75}


def _auroc(alarm: FloatArray, warned: BoolArray) -> float | None:
    """AUROC of windows at risk: those before an onset against the others."""
    from sklearn.metrics import roc_auc_score

    if warned.all() or not warned.any():
        return None
    return float(roc_auc_score(warned, np.clip(alarm, -1e30, 1e30)))


def _described(event: Event, unit: str, windows: Windows) -> str:
    sign = "<" if event.below else ">"
    length_s = event.samples / windows.recordings[0].rate_hz
    duration = f" for at least {length_s:g} s" if event.samples > 1 else ""
    return f"{event.channel} {sign} {event.limit:g} {unit}{duration}"
