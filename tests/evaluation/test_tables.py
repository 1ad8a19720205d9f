from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import EnvironmentProblem
from tsfm_adapt.evaluation.tables import filled, labelled, table, write
from tsfm_adapt.signals.labels import LabelledWindows, RecordingLabel, RecordingLabels
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

LEVELS = (0.1, 0.5, 0.9)
UNITS = ("bpm", "mmHg")


def recording(id="stay-1", samples=30, start="2896-10-10T00:31:00", rate_hz=1 / 60, subject="p1"):
    values = np.arange(2.0 * samples).reshape(2, samples)
    return Recording(
        id=id,
        subject=subject,
        values=values,
        channels=("HR", "MAP"),
        units=UNITS,
        rate_hz=rate_hz,
        start=None if start is None else np.datetime64(start, "s"),
    )


def quantiles_of(windows, steps):
    """Each number says where it belongs: window, channel, level, step."""
    shape = (len(windows), 2, len(LEVELS), steps)
    window, channel, level, step = np.indices(shape)
    return (window * 1000 + channel * 100 + level * 10.0) + step


def predicted(recordings, context=10, horizon=4, stride=5):
    windows = Windows(recordings, WindowSpec(context, horizon, stride))
    return windows, table(windows, quantiles_of(windows, horizon), LEVELS, UNITS)


def test_the_columns_are_these_in_this_order():
    _, rows = predicted([recording()])
    assert rows.column_names == [
        *("subject", "recording", "origin_s", "step", "time", "time_s", "channel", "unit"),
        *("q0.1", "q0.5", "q0.9", "measured"),
    ]


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(14, 40), min_size=1, max_size=4),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 9),
)
def test_every_row_holds_the_numbers_of_its_window_channel_and_step(lengths, horizon, stride):
    """Rows go window by window, then channel by channel, then step by step."""
    recordings = [recording(f"r{i}", n, subject=f"p{i % 2}") for i, n in enumerate(lengths)]
    windows, rows = predicted(recordings, horizon=horizon, stride=stride)
    expected = []
    for number in range(len(windows)):
        source = recordings[windows.recording[number]]
        origin = int(windows.start[number]) + 10
        for channel in range(2):
            for step in range(horizon):
                first = number * 1000 + channel * 100 + step
                expected.append(
                    {
                        "subject": source.subject,
                        "recording": source.id,
                        "origin_s": pytest.approx(origin * 60),
                        "step": step + 1,
                        "time_s": pytest.approx((origin + step) * 60),
                        "channel": ("HR", "MAP")[channel],
                        "unit": UNITS[channel],
                        **{f"q{q:g}": first + 10.0 * i for i, q in enumerate(LEVELS)},
                        "measured": float(source.values[channel, origin + step]),
                    }
                )
    assert rows.drop_columns(["time"]).to_pylist() == expected


def test_times_of_the_year_2896_are_exact():
    windows, rows = predicted([recording()])
    origins = np.datetime64("2896-10-10T00:31:00") + (windows.start + 10) * np.timedelta64(60, "s")
    expected = origins[:, None, None] + np.arange(4) * np.timedelta64(60, "s")
    times = rows.column("time").to_numpy().reshape(len(windows), 2, 4)
    np.testing.assert_array_equal(times, np.broadcast_to(expected, times.shape))


def test_times_between_seconds_keep_milliseconds():
    _, rows = predicted([recording(rate_hz=4.0, start="2020-01-01T00:00:00")])
    first = rows.column("time").to_numpy()[:4]
    assert [str(time) for time in first] == [
        f"2020-01-01T00:00:0{seconds}" for seconds in ("2.500", "2.750", "3.000", "3.250")
    ]


def test_a_recording_without_a_date_has_null_times_beside_one_that_has():
    _, rows = predicted([recording("dated"), recording("undated", start=None)])
    assert {
        (row["recording"], row["time"] is None, row["time_s"] is None) for row in rows.to_pylist()
    } == {("dated", False, False), ("undated", True, False)}
    _, rows = predicted([recording(start=None)])
    assert rows.column("time").null_count == rows.num_rows
    assert rows.schema.field("time").type == pyarrow.timestamp("ms")


def test_measured_is_null_exactly_where_nothing_was_measured():
    gappy = recording()
    gappy.values[0, 11] = np.nan
    gappy.values[1, 20:] = np.nan
    windows, rows = predicted([gappy])
    measured = rows.column("measured").to_numpy(zero_copy_only=False)
    expected = [
        gappy.values[c, start + 10 + step]
        for start in windows.start
        for c in range(2)
        for step in range(4)
    ]
    np.testing.assert_array_equal(measured, expected)
    assert rows.column("measured").null_count == np.isnan(expected).sum() > 0


def test_beyond_the_end_of_a_recording_there_is_nothing_to_measure():
    windows = Windows([recording()], WindowSpec(context=10, horizon=0, stride=20))
    rows = table(windows, quantiles_of(windows, 7), LEVELS, UNITS)
    assert "measured" not in rows.column_names
    assert rows.num_rows == 2 * 2 * 7
    assert rows.column("time_s").to_pylist()[-1] == pytest.approx((20 + 10 + 6) * 60)


def test_a_parquet_file_reads_the_same_in_pandas_and_pyarrow(tmp_path):
    _, rows = predicted([recording("a"), recording("b", start=None)])
    path = tmp_path / "predictions" / "test.parquet"
    write(path, rows)
    assert pyarrow.parquet.read_table(path).to_pylist() == rows.to_pylist()
    frame = pd.read_parquet(path)
    assert list(frame.columns) == rows.column_names
    assert frame["time"].dtype == "datetime64[ms]"
    assert frame["time"][0] == pd.Timestamp("2896-10-10T00:41:00").as_unit("ms")
    assert frame["time"].isna().sum() == (frame["recording"] == "b").sum()
    np.testing.assert_array_equal(frame["q0.9"], rows.column("q0.9").to_numpy())
    median = frame.groupby(["recording", "channel"], observed=True)["q0.5"].median()
    assert median.shape == (4,)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    _, rows = predicted([recording()])
    path = tmp_path / "test.parquet"
    write(path, rows)
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(EnvironmentProblem, match="disk is full"):
        write(path, rows.slice(0, 1))
    assert pyarrow.parquet.read_table(path).num_rows == rows.num_rows


def called(labels, labelling, start="2020-01-01T00:00:00"):
    """Windows of one recording each, 10 samples a minute apart, with a label."""
    recordings = [
        replace(recording(f"r{i}", 15, start, subject=f"p{i}"), labels=of)
        for i, of in enumerate(labels)
    ]
    return LabelledWindows(recordings, WindowSpec(10, 0, 5), labelling)


def test_labelled_windows_have_a_row_each_with_probabilities_and_their_class():
    labelling = RecordingLabel("kind", (0, 1), ("asleep", "awake"))
    windows = called([{"kind": 1}, {"kind": 0}], labelling)
    probability = np.linspace(0, 1, 8).reshape(4, 2)
    rows = labelled(windows, probability, labelling.classes).to_pandas()
    assert list(rows) == [
        *("subject", "recording", "origin_s", "time", "p_asleep", "p_awake", "label")
    ]
    assert rows.recording.tolist() == ["r0", "r0", "r1", "r1"]
    assert rows.subject.tolist() == ["p0", "p0", "p1", "p1"]
    assert rows.origin_s.tolist() == [600.0, 900.0, 600.0, 900.0]
    assert rows.time[1] == pd.Timestamp("2020-01-01T00:15:00")
    assert rows.label.tolist() == ["awake", "awake", "asleep", "asleep"]
    np.testing.assert_array_equal(rows[["p_asleep", "p_awake"]], probability)


def test_windows_of_several_labels_have_a_list_of_them():
    windows = called([{"af": 1, "pvc": 1}, {"af": 0, "pvc": 0}], RecordingLabels(("af", "pvc")))
    rows = labelled(windows, np.full((4, 2), 0.5), ("af", "pvc"))
    assert rows.column("label").to_pylist() == [["af", "pvc"]] * 2 + [[]] * 2


def test_windows_without_known_classes_have_no_label_and_no_date_without_one():
    windows = Windows([recording(start=None)], WindowSpec(10, 0, 10))
    rows = labelled(windows, np.full((3, 2), 0.5), ("a", "b"))
    assert "label" not in rows.column_names
    assert rows.column("time").null_count == 3


def zoned(zone, start="2024-03-02T14:15:00", **more):
    return replace(recording(start=start, samples=14, **more), zone=zone)


@pytest.mark.parametrize(
    ("zones", "kept"),
    [
        (["-05:00", "-05:00"], "-05:00"),
        (["Europe/Berlin"], "Europe/Berlin"),
        (["-05:00", "+01:00"], "UTC"),
        ([None, None], None),
    ],
)
def test_times_are_in_the_zone_of_the_recordings_and_in_utc_where_zones_differ(zones, kept):
    recordings = [zoned(zone, subject=f"p{n}", id=f"r{n}") for n, zone in enumerate(zones)]
    _, rows = predicted(recordings)
    type_of_time = rows.schema.field("time").type
    assert type_of_time == pyarrow.timestamp("ms", tz=kept)
    first = rows["time"][0].as_py()
    expected = pd.Timestamp("2024-03-02T14:25:00")
    assert first == (expected.to_pydatetime() if kept is None else expected.tz_localize("UTC"))
    estimates = [np.zeros((2, 3, 14))] * len(recordings)
    whole = filled(recordings, estimates, LEVELS, UNITS)
    assert whole.schema.field("time").type == type_of_time
    assert whole.num_rows == 28 * len(recordings)


def test_a_time_of_no_known_zone_is_no_time_of_another_zone():
    naive, aware = zoned(None, subject="a", id="a"), zoned("-05:00", subject="b", id="b")
    undated = zoned(None, start=None, subject="c", id="c")
    _, rows = predicted([naive, aware, undated])
    by_recording = rows.to_pandas().groupby("recording", observed=True)["time"]
    assert by_recording.count().to_dict() == {"a": 0, "b": 8, "c": 0}
    assert rows.schema.field("time").type == pyarrow.timestamp("ms", tz="UTC")
    _, alone = predicted([aware, undated])
    assert alone.schema.field("time").type == pyarrow.timestamp("ms", tz="-05:00")
