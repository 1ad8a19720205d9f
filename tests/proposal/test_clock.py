"""The rate that is proposed, and where recordings are cut."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.proposed import given_items, proposed, recording, walk
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.signals.recording import IrregularReadings


def test_fast_signals_are_slowed_by_a_whole_number():
    for rate_hz, expected in ((360, 120), (250, 125), (1000, 125), (100, 100), (128, 128)):
        proposal = proposed(recording(walk(40_000), rate_hz=float(rate_hz)))
        assert proposal.rate_hz == expected


def test_of_one_stretch_at_several_rates_what_is_not_much_slower_stays():
    parts = [
        recording(
            walk(200 * rate),
            id=f"a/{rate}",
            rate_hz=float(rate),
            channels=(name,),
            units=("mV",),
            multirate_id="a",
        )
        for name, rate in (("slow", 1), ("middle", 25), ("fast", 100))
    ]
    proposal = proposed(*parts)
    assert proposal.rate_hz == 25
    assert [line.name for line in proposal.kept] == ["middle", "fast"]
    assert look(given_items(*parts)).looked == 1


def events(subject, time_s, value, duration_s=None, **more):
    time_s = np.asarray(time_s, float)
    return IrregularReadings(
        id=subject,
        subject=subject,
        time_s=time_s,
        channel=np.zeros(len(time_s), np.int64),
        value=np.asarray(value, float),
        channels=("gl",),
        units=("mg/dL",),
        duration_s=duration_s,
        **more,
    )


def test_the_clock_of_readings_is_their_usual_interval_and_long_gaps_are_cut():
    time_s = 300.0 * np.arange(2000) + np.random.default_rng(0).uniform(-20, 20, 2000)
    time_s[1000:] += 86400 * 30
    items = [events(f"s{s}", time_s, walk(2000, s, 120.0)) for s in range(4)]
    proposal = proposed(*items)
    assert proposal.rate_hz == pytest.approx(1 / 300)
    assert proposal.max_gap_s == pytest.approx(3600)
    assert max(r.samples for r in proposal.recordings) < 1100
    stated = [events(f"s{s}", time_s, walk(2000, s, 120.0), 86400 * 60.0) for s in range(4)]
    assert proposed(*stated).max_gap_s is None
