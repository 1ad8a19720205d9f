import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.reader import ReaderContract, channel_of
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.binning import bin_readings
from tsfm_adapt.signals.readers.empatica import UNITS, Config
from tsfm_adapt.signals.recording import Span
from tsfm_adapt.signals.units import canonical

START_S = 1_540_000_000
MINUTE = 4 * 60  # samples of EDA and TEMP


def write(folder, name, start_s, rate_hz, values):
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}.csv"
    path.write_text(f"{start_s:.6f}\n{rate_hz:.6f}\n" + "".join(f"{v:.4f}\n" for v in values))
    return path


def worn_between(first_min, stop_min, minutes):
    eda = np.zeros(minutes * MINUTE)
    eda[first_min * MINUTE : stop_min * MINUTE] = 0.5
    return eda


def sitting(folder, eda, start_s=START_S, hr_later_s=10):
    """HR counts its own rows, TEMP counts seconds since `start_s`."""
    seconds = len(eda) // 4
    write(folder, "EDA", start_s, 4, eda)
    write(folder, "TEMP", start_s, 4, np.arange(len(eda)) / 4)
    write(folder, "HR", start_s + hr_later_s, 1, np.arange(seconds - hr_later_s))
    (folder / "tags.csv").write_text("")
    return folder


@pytest.fixture
def root(tmp_path):
    sitting(tmp_path / "S2" / "Final", worn_between(0, 12, 12))
    sitting(tmp_path / "S1" / "Midterm", worn_between(10, 30, 40))
    (tmp_path / "S1" / "Midterm" / "tags.csv").write_text(
        f"{START_S + 599.5}\n{START_S + 660.25}\n{START_S + 1800}\n"
    )
    return tmp_path


class TestEmpaticaContract(ReaderContract):
    @pytest.fixture
    def config(self, root):
        return Config(root=str(root))


class TestEmpaticaContractWithTimeOffTheWrist(ReaderContract):
    @pytest.fixture
    def config(self, root):
        return Config(root=str(root), worn_only=False)


def read(root, channels=(), **fields):
    return list(Config(root=str(root), **fields).read(channels))


def test_a_sitting_is_named_by_its_subject_and_folder(root):
    assert [(e.id, e.subject) for e in read(root)] == [("S1/Midterm", "S1"), ("S2/Final", "S2")]
    assert read(root)[0].channels == ("HR", "EDA", "TEMP")
    assert read(root)[0].units == ("bpm", "uS", "degC")
    assert all(canonical(unit) for unit in UNITS.values())


def test_channels_are_aligned_by_time_stamp_not_by_row(root):
    events = read(root, worn_only=False)[0]
    assert events.start == np.datetime64(START_S, "s")
    assert events.duration_s == 2400
    hr_s, hr = channel_of(events, "HR")
    np.testing.assert_array_equal(hr_s, hr + 10)
    temp_s, temp = channel_of(events, "TEMP")
    np.testing.assert_array_equal(temp_s, temp)
    assert (len(hr), len(temp)) == (2390, 9600)


def test_the_worn_run_keeps_the_alignment_and_begins_its_own_clock(root):
    events = read(root)[0]
    assert events.start == np.datetime64(START_S + 600, "s")
    assert events.duration_s == 1200
    hr_s, hr = channel_of(events, "HR")
    temp_s, temp = channel_of(events, "TEMP")
    np.testing.assert_array_equal(hr, np.arange(590, 1790))
    np.testing.assert_array_equal(hr_s, hr + 10 - 600)
    np.testing.assert_array_equal(temp_s, temp - 600)
    assert (temp[0], temp[-1]) == (600, 1799.75)
    assert (channel_of(events, "EDA")[1] == 0.5).all()


def test_tags_are_marks_and_those_outside_the_worn_run_are_left_out(root):
    worn, whole = read(root)[0], read(root, worn_only=False)[0]
    assert worn.spans == (Span(60.25, 60.25, "tag"),)
    assert [span.start_s for span in whole.spans] == [599.5, 660.25, 1800]
    (root / "S1" / "Midterm" / "tags.csv").unlink()
    assert read(root)[0].spans == ()


def test_the_longest_worn_run_is_kept_and_a_short_loss_of_contact_does_not_cut_it(tmp_path):
    eda = worn_between(2, 12, 60)
    eda[20 * MINUTE : 45 * MINUTE] = 0.5
    eda[30 * MINUTE : 32 * MINUTE] = 0  # less than half of the median's five minutes
    sitting(tmp_path / "S1" / "Final", eda)
    (events,) = read(tmp_path)
    assert events.start == np.datetime64(START_S + 20 * 60, "s")
    assert events.duration_s == 25 * 60


def test_the_threshold_is_exceeded_not_met(root):
    assert read(root, worn_eda_us=0.49)[0].duration_s == 1200
    assert read(root, worn_eda_us=0.5)[0].duration_s is None


def test_a_sitting_never_worn_has_no_events_and_gives_no_recording(tmp_path):
    sitting(tmp_path / "S1" / "Final", np.zeros(6 * MINUTE))
    (events,) = read(tmp_path)
    assert events.value.size == 0
    assert bin_readings(events, 1.0, "median", None) == []
    assert len(read(tmp_path, worn_only=False)[0].value) == 2 * 6 * MINUTE + 350


@settings(deadline=None, max_examples=20)
@given(first=st.integers(601, 1500), length=st.integers(1300, 2500), later_s=st.integers(0, 20))
def test_a_worn_run_is_found_to_the_sample(tmp_path_factory, first, length, later_s):
    root = tmp_path_factory.mktemp("sittings")
    eda = np.zeros(20 * MINUTE)
    eda[first : first + length] = 1.0
    eda[first + length // 2] = 0.0  # one lost sample
    sitting(root / "S1" / "Final", eda, hr_later_s=later_s)
    (events,) = read(root)
    offset_s = float(events.start.astype(np.int64)) - START_S
    assert offset_s == first // 4
    assert events.duration_s + offset_s == (first + length) / 4
    assert channel_of(events, "EDA")[0][0] + offset_s == first / 4
    assert len(channel_of(events, "EDA")[0]) == length
    hr_s, hr = channel_of(events, "HR")
    np.testing.assert_array_equal(hr_s + offset_s, hr + later_s)


def test_starts_between_seconds_keep_their_fraction(tmp_path):
    sitting(tmp_path / "S1" / "Final", np.ones(6 * MINUTE), start_s=START_S + 0.25)
    for worn_only in (True, False):
        (events,) = read(tmp_path, worn_only=worn_only)
        assert events.start == np.datetime64(START_S, "s")
        assert events.time_s[0] == 0.25
        assert channel_of(events, "HR")[0][0] == 10.25
        assert events.duration_s == 360.25


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "row 1: expected a start in unix seconds, found 'nothing'"),
        ("0\n1\n70\n", "row 1: expected a start in unix seconds, found '0'"),
        ("2018-10-13,HR\n1\n", "row 1: expected one number, found '2018-10-13,HR'"),
        ("1540000000\n", "row 2: expected a rate in Hz, found 'nothing'"),
        ("1540000000\n-1\n70\n", "row 2: expected a rate in Hz, found '-1'"),
        ("1540000000\n1\n70\n7x\n", "row 4: expected one number, found '7x'"),
        ("1540000000\n1\n70\n\n71\n", "row 4: expected one number, found ''"),
        ("1540000000\n1\ninf\n", "row 3: expected one number, found 'inf'"),
        (b"\xff\xfe\x00", "must be readable UTF-8 text"),
    ],
)
def test_a_broken_file_is_named_with_the_row(root, content, message):
    path = root / "S1" / "Midterm" / "HR.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        read(root)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", UNITS)
def test_a_sitting_without_one_of_its_files_is_refused(root, name):
    (root / "S1" / "Midterm" / f"{name}.csv").unlink()
    with pytest.raises(DataError, match=rf"Midterm/{name}\.csv must be readable"):
        read(root)


def test_broken_tags_are_named(root):
    (root / "S2" / "Final" / "tags.csv").write_text("pressed\n")
    with pytest.raises(DataError, match=r"tags\.csv, row 1: .*found 'pressed'"):
        read(root)


@pytest.mark.parametrize("start_s", [72, START_S + 86400])
def test_a_file_of_another_time_is_refused(root, start_s):
    write(root / "S1" / "Midterm", "HR", start_s, 1, [70, 71])
    with pytest.raises(DataError, match=f"overlap in time: .*HR.csv {start_s}"):
        read(root)


def test_a_folder_without_sittings_is_refused(root):
    with pytest.raises(DataError, match=r"files like S1/Final/HR\.csv: .*S1 has none"):
        read(root / "S1")
