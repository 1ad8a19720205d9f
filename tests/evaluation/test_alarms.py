"""Alarms, false alarms and lead times, counted by hand."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from tsfm_adapt.evaluation.alarms import AlarmErrors, Event, summarise_events
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

LOW = Event("MAP", 65.0, below=True)
NAN = np.nan


@pytest.mark.parametrize(
    ("values", "samples", "expected"),
    [
        ([70, 60, 70, 60, 60, 70], 1, [1, 3]),
        ([70, 60, 70, 60, 60, 70], 2, [3]),
        ([60, 60, 70, 70], 1, []),  # on from the beginning: its onset was not seen
        ([70, 60], 1, [1]),
        ([70, 65, 70], 1, []),  # at the limit is not beyond it
        ([70, NAN, 60, NAN, 60, 70], 2, [2]),  # gaps are left aside
        ([NAN, 60, 70, NAN, NAN, 60], 1, [5]),
        ([NAN, NAN], 1, []),
    ],
)
def test_an_episode_begins_after_a_measured_value_that_is_not_beyond(values, samples, expected):
    event = Event("MAP", 65.0, below=True, samples=samples)
    assert event.onsets(np.array(values, dtype=float)).tolist() == expected
    above = Event("MAP", -65.0, below=False, samples=samples)
    assert above.onsets(-np.array(values, dtype=float)).tolist() == expected


def test_a_window_is_at_risk_where_the_last_measured_value_is_not_beyond():
    values = np.array(
        [[70, 60, 0], [60, 70, 0], [60, 70, 60], [70, 70, 70], [0, 0, 0]], dtype=float
    )
    observed = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
    scored = np.array([True, True, True, False, True])
    assert LOW.at_risk(values, observed, scored).tolist() == [False, True, False, False, False]


LEVELS = (0.1, 0.5, 0.9)


def normal(mean, deviation, levels=LEVELS):
    """Quantiles (B, Q, H) of normal forecasts with these means (B, H)."""
    mean = np.asarray(mean, dtype=float)
    return mean[:, None, :] + deviation * norm.ppf(levels)[None, :, None]


def test_the_score_of_a_normal_forecast_is_the_normal_score_of_the_chance():
    """Between the quantiles and beyond them."""
    means = np.array([[60.0], [64.0], [70.0], [90.0]])
    scores = LOW.score(normal(means, 5.0), LEVELS)
    np.testing.assert_allclose(scores, (65 - means[:, 0]) / 5, rtol=1e-9)
    above = Event("MAP", 65.0, below=False)
    np.testing.assert_allclose(above.score(normal(means, 5.0), LEVELS), -scores, rtol=1e-9)


def test_the_highest_step_counts_and_a_wider_forecast_warns_more():
    assert LOW.score(normal([[80, 66, 80]], 5.0), LEVELS) == pytest.approx([-0.2])
    narrow, wide = (LOW.score(normal([[80.0]], d), LEVELS)[0] for d in (2.0, 10.0))
    assert wide > narrow


def test_levels_that_are_not_symmetric_are_turned_with_the_values():
    levels = (0.05, 0.5, 0.7)
    above = Event("MAP", 65.0, below=False)
    scores = above.score(normal([[60.0], [68.0]], 4.0, levels), levels)
    np.testing.assert_allclose(scores, [-1.25, 0.75], rtol=1e-9)


def test_a_point_forecast_and_a_collapsed_one_are_ranked_by_how_low_they_go():
    points = np.array([[80.0, 70.0], [60.0, 90.0], [66.0, 66.0]])[:, None, :]
    assert LOW.score(points, (0.5,)).tolist() == [-5.0, 5.0, -1.0]
    collapsed = LOW.score(np.repeat(points, 3, axis=1), LEVELS)
    assert np.isfinite(collapsed).all()
    assert np.argsort(collapsed).tolist() == [0, 2, 1]


def test_quantiles_that_are_not_finite_raise_no_alarm():
    assert LOW.score(np.full((1, 3, 2), NAN), LEVELS)[0] == -np.inf


# ---- a day of windows

CONTEXT, HORIZON = 4, 6


def recording(low, subject="a", samples=1444):
    """MAP 80 but for 60 in the stretches `low`; a sample a minute, a day after the context."""
    values = np.full((1, samples), 80.0)
    for first, stop in low:
        values[0, first:stop] = 60.0
    return Recording(subject, subject, values, ("MAP",), ("mmHg",), 1 / 60)


def outcome(recordings, alarms, stride=HORIZON, allowed=(1.0,), event=LOW, seed=0, **models):
    """Summary of a model whose score is 0 but for `alarms` {(subject, origin): score}."""
    windows = Windows(recordings, WindowSpec(CONTEXT, HORIZON, stride))
    arrays = windows.gather(range(len(windows)))
    risk = event.at_risk(arrays.values[:, 0], arrays.observed[:, 0], np.ones(len(windows), bool))
    alarm = np.zeros(len(windows))
    where = [
        (windows.recordings[r].subject, int(s) + CONTEXT)
        for r, s in zip(windows.recording, windows.start, strict=True)
    ]
    for key, score in alarms.items():
        alarm[where.index(key)] = score
    plain = np.zeros((len(windows), 1, HORIZON), dtype=np.float32)
    subjects = tuple(subject for subject, _ in where)
    errors = AlarmErrors(
        subjects, plain, plain > 0, *[plain] * 4, alarm[:, None], risk[:, None], windows
    )
    found = summarise_events({"model": errors}, {"low": event}, {"MAP": "mmHg"}, allowed, seed)
    found = found["low"].model_dump()
    json.dumps(found, allow_nan=False)
    return found


def test_a_detected_episode_a_missed_one_and_a_false_alarm_are_counted():
    """Onsets at 100 (4 + 16 x 6 = 100) and 304; one false alarm is allowed a day."""
    found = outcome(
        [recording([(100, 110), (304, 306)])], {("a", 100): 3.0, ("a", 40): 2.0, ("a", 46): 1.0}
    )
    assert found["event"] == "MAP < 65 mmHg"
    assert (found["episodes"], found["subjects"], found["episodes_unforeseeable"]) == (2, 1, 0)
    assert found["windows"] == 240 - 1  # that of 106 begins in the episode
    assert found["windows_before_onset"] == 2
    assert found["monitored_days"] == pytest.approx(239 * 6 / 1440)
    at = found["models"]["model"]["at"]["1"]
    # 239 windows are 0.996 days: no false alarm is within 1 a day.
    assert at["false_alarms_a_day"] == 0
    assert (at["sensitivity"], at["detected"]) == (0.5, 1)
    assert at["lead_s"] == {"median": 60.0, "q25": 60.0, "q75": 60.0}


def test_more_false_alarms_allowed_detect_more_and_the_rate_is_kept_to():
    rng = np.random.default_rng(0)
    low = [(first, first + 9) for first in range(50, 1400, 90)]
    alarms = {("a", 4 + 6 * k): rng.normal() + 2 for k in range(240)}
    allowed = (1.0, 2.0, 5.0, 20.0, 100.0, 239.0)
    at = outcome([recording(low)], alarms, allowed=allowed)["models"]["model"]["at"]
    shares = [at[f"{rate:g}"]["sensitivity"] for rate in allowed]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for rate in allowed:
        assert at[f"{rate:g}"]["false_alarms_a_day"] <= rate


def test_the_threshold_is_the_lowest_that_keeps_to_the_rate():
    """Two days allow two; scores 9, 8, 7 are false, and 7.5 then still warns, 6.5 does not."""
    low = [(100, 105), (400, 405)]
    two_days = recording(low, samples=2 * 1440 + 4 + 60)
    alarms = {("a", 1000): 9.0, ("a", 1300): 8.0, ("a", 1600): 7.0}
    alarms |= {("a", 100): 7.5, ("a", 400): 6.5}
    at = outcome([two_days], alarms)["models"]["model"]["at"]["1"]
    assert at["detected"] == 1
    assert at["false_alarms_a_day"] == pytest.approx(1, rel=0.05)


def test_ties_at_the_threshold_raise_no_alarm():
    low = [(100, 105)]
    alarms = {("a", 100): 5.0, ("a", 40): 5.0, ("a", 58): 5.0}
    at = outcome([recording(low)], alarms)["models"]["model"]["at"]["1"]
    assert at["detected"] == 0


def test_overlapping_windows_count_one_false_alarm_a_horizon_and_lead_from_the_first():
    """By stride 1: scores in origins 200..211 are two horizons, so two false alarms."""
    long = recording([(500, 520)], samples=3 * 1440 + 60)
    alarms = {("a", origin): 5.0 for origin in range(200, 212)}
    alarms |= {("a", 496): 6.0, ("a", 498): 9.0, ("a", 494): 9.0}  # 494's horizon ends before 500
    found = outcome([long], alarms, stride=1, allowed=(0.4, 1.0))["models"]["model"]["at"]
    assert found["0.4"]["false_alarms_a_day"] == pytest.approx(1 / 3, rel=0.05)
    assert found["1"]["false_alarms_a_day"] == pytest.approx(1.0, rel=0.05)
    assert found["1"]["lead_s"]["median"] == 60.0 * (500 - 496 + 1)


def test_a_window_in_which_the_event_is_on_neither_warns_nor_errs():
    """Its context ends beyond the limit; a second dip lies in its horizon."""
    found = outcome([recording([(102, 105), (107, 109)])], {("a", 106): 9.0})
    assert (found["episodes"], found["episodes_unforeseeable"]) == (2, 0)
    dip = outcome([recording([(102, 106), (107, 109)])], {("a", 106): 9.0})
    assert (dip["episodes"], dip["episodes_unforeseeable"]) == (1, 1)
    assert dip["models"]["model"]["at"]["1"]["detected"] == 0
    assert dip["windows_not_at_risk"] == 1


def test_without_episodes_there_is_no_share_and_no_order():
    found = outcome([recording([])], {("a", 40): 1.0})
    model = found["models"]["model"]
    assert model["auroc"] is None
    assert model["at"]["1"]["sensitivity"] is None
    assert model["at"]["1"]["lead_s"] is None


def test_an_alarm_of_one_recording_does_not_hide_another_recordings():
    pair = [recording([], name, samples=CONTEXT + HORIZON) for name in "ab"]
    alarms = {("a", 4): 5.0, ("b", 4): 5.0}
    at = outcome(pair, alarms, allowed=(239.0, 120.0))["models"]["model"]["at"]
    assert at["239"]["false_alarms_a_day"] == pytest.approx(0.0)  # 1 of 0.0083 days is 120 a day
    low = outcome(pair, alarms, allowed=(240.0,))["models"]["model"]["at"]["240"]
    assert low["false_alarms_a_day"] == pytest.approx(240.0)


def test_the_interval_is_over_subjects_and_holds_the_share():
    cohort = [recording([(100, 110), (400, 410)], f"p{k}") for k in range(10)]
    warned = {(f"p{k}", 100): 5.0 for k in range(6)} | {(f"p{k}", 400): 5.0 for k in range(4)}
    at = outcome(cohort, warned)["models"]["model"]["at"]["1"]
    assert at["interval"] == "subjects"
    assert at["low"] < at["sensitivity"] == 0.5 < at["high"]
    few = outcome(cohort[:3], {k: v for k, v in warned.items() if k[0] in ("p0", "p1", "p2")})
    point = few["models"]["model"]["at"]["1"]
    assert (point["sensitivity"], point["low"], point["high"]) == (1.0, None, None)
    few = outcome(cohort[:3], {("p0", 100): 5.0})["models"]["model"]["at"]["1"]
    assert few["interval"] == "few subjects"
    assert few["low"] == 0.0 < few["sensitivity"] < few["high"]


def test_who_knows_the_future_detects_everything_without_a_false_alarm():
    """The order of the windows is scikit-learn's AUROC."""
    cohort = [recording([(100 + k, 120 + k), (900, 915)], f"p{k}") for k in range(9)]
    windows = Windows(cohort, WindowSpec(CONTEXT, HORIZON, 1))
    future = windows.gather(range(len(windows))).target
    scores = LOW.score(future[:, 0][:, None], (0.5,))
    alarms = {
        (windows.recordings[r].subject, int(s) + CONTEXT): score
        for r, s, score in zip(windows.recording, windows.start, scores, strict=True)
    }
    found = outcome(cohort, alarms, stride=1)
    model = found["models"]["model"]
    assert model["auroc"] == 1.0
    assert model["at"]["1"]["sensitivity"] == 1.0
    assert model["at"]["1"]["lead_s"]["median"] == 60.0 * HORIZON
    assert found["episodes"] == 18
