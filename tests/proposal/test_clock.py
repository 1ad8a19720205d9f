"""The rate that is proposed, and where recordings are cut."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.proposed import given_items, proposed, recording, walk
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.proposal import propose
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


def at_rates(**rates):
    """One stretch whose channels have these rates."""
    return [
        recording(
            walk(int(200 * rate), seed),
            id=f"a/{name}",
            rate_hz=float(rate),
            channels=(name,),
            units=("mV",),
            multirate_id="a",
        )
        for seed, (name, rate) in enumerate(rates.items())
    ]


def test_a_slow_channel_does_not_set_the_clock_of_a_fast_one():
    proposal = proposed(*at_rates(ecg=500, hrv=5))
    assert proposal.rate_hz == 125
    assert [line.name for line in proposal.kept] == ["ecg"]
    (note,) = [note for note in proposal.notes if "differ much" in note]
    assert note.endswith("ecg (500 Hz) are proposed; for hrv (5 Hz): tsfm-adapt init --clock-hz 5")


def test_a_fast_channel_is_not_slowed_to_the_clock_of_many_slow_ones():
    items = at_rates(ecg=500, hr=5, rr=5, sdnn=4)
    proposal = proposed(*items)
    assert proposal.rate_hz == 4
    assert [line.name for line in proposal.kept] == ["hr", "rr", "sdnn"]
    (left,) = [line for line in proposal.channels if line.left_out]
    assert "not near the rate of the others, 500 Hz" in left.why
    assert any("tsfm-adapt init --clock-hz 500" in note for note in proposal.notes)


def test_the_other_group_is_proposed_where_asked():
    reader = given_items(*at_rates(ecg=500, hr=5, rr=5, sdnn=4))
    proposal = propose(look(reader), reader, clock_hz=450)
    assert [line.name for line in proposal.kept] == ["ecg"]
    assert proposal.rate_hz == 125
    assert any("for hr, rr, sdnn (4 to 5 Hz)" in note for note in proposal.notes)


def test_channels_of_alike_rates_are_one_group_and_nothing_is_said():
    proposal = proposed(*at_rates(eeg=128, emg=256, resp=32))
    assert proposal.rate_hz == 32
    assert not any("differ much" in note for note in proposal.notes)


def test_readings_at_irregular_times_have_no_rate_to_choose():
    reader = given_items(events("a", np.arange(500.0) * 7, walk(500)))
    with pytest.raises(DataError, match="irregular times"):
        propose(look(reader), reader, clock_hz=5)
