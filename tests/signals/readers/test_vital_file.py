"""One .vital file: its packets, its clock, and every way in which it can be broken."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.vital_file import START_S, numbers, read, wave, write


def test_stored_integers_are_scaled_and_gaps_of_packed_files_are_missing(tmp_path):
    packets = [
        {"dt": START_S + t, "val": np.array(samples, dtype=np.int16)}
        for t, samples in [(0, [0, 100]), (4, [200, 300])]
    ]
    tracks = {"SNUADC/ECG_II": (packets, 1, "mV")}
    path = write(tmp_path / "1.vital", tracks, gaps={"SNUADC/ECG_II": (5, 0.01, -1.0)})
    (recording,) = read(path)
    np.testing.assert_allclose(
        recording.values[0], [-1, 0, np.nan, np.nan, 1, 2], rtol=0, atol=1e-6
    )


def test_codes_for_no_value_are_missing(tmp_path):
    tracks = {
        "SNUADC/ART": (wave((0, [80, 5e9, np.inf, np.nan, 81])), 1, "mmHg"),
        "Solar8000/HR": (numbers([0, 1, 2], [60, np.nan, np.inf]), 0, "/min"),
    }
    events, recording = read(write(tmp_path / "1.vital", tracks))
    np.testing.assert_array_equal(recording.values[0], [80, np.nan, np.nan, np.nan, 81])
    assert events.value.tolist() == [60.0]


@settings(deadline=None, max_examples=25)
@given(
    rate_hz=st.sampled_from([1.0, 62.5, 100.0, 500.0]),
    jitter=st.lists(st.floats(-0.4, 0.4), min_size=1, max_size=6),
)
def test_a_packet_moves_by_half_a_sample_at_most(tmp_path_factory, rate_hz, jitter):
    folder = tmp_path_factory.mktemp("wave")
    gap = 10 / rate_hz
    packets = [
        (1 + number * gap + late / rate_hz, number * 3 + np.arange(3))
        for number, late in enumerate(jitter)
    ]
    (recording,) = read(write(folder / "1.vital", {"A/W": (wave(*packets), rate_hz, "mV")}, False))
    at = np.flatnonzero(np.isfinite(recording.values[0]))
    np.testing.assert_array_equal(recording.values[0, at], np.arange(3 * len(jitter)))
    expected = np.concatenate([t * rate_hz + np.arange(3) for t, _ in packets])
    origin = float(recording.start.astype(np.int64)) - START_S
    assert np.abs(at - (expected - origin * rate_hz)).max() <= 0.5 + 1e-3
