import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.reader import ReaderContract
from contracts.wfdb_record import ramp, read, rewrite, write
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.wfdb import Config


class TestWfdbContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        values = ramp().astype(float)
        values[0, 3:5] = np.nan
        write(tmp_path / "records", "a", values)
        start = datetime.datetime(2896, 10, 10, 0, 31, 25, 894000)
        write(tmp_path / "records" / "deep", "a", ramp(12), base_datetime=start)
        return Config(root=str(tmp_path / "records"))


def test_values_units_and_missing_ones_are_those_of_the_file(tmp_path):
    values = ramp().astype(float)
    values[0, 3:5] = np.nan
    write(tmp_path, "a", values)
    (recording,) = read(tmp_path)
    np.testing.assert_array_equal(recording.values, values)
    assert recording.channels == ("HR", "RESP")
    assert recording.units == ("bpm", "pm")
    assert (recording.id, recording.subject, recording.start) == ("a", "a", None)


@pytest.mark.parametrize(
    ("text", "rate_hz"),
    [("0.0166666666667/125", 1 / 60), ("360", 360.0), ("0.0166", 0.0166), ("0.4", 0.4)],
)
def test_only_a_rounded_fraction_of_one_becomes_exact(tmp_path, text, rate_hz):
    rewrite(write(tmp_path, "a", ramp()), "a 2 1 30", f"a 2 {text} 30")
    assert read(tmp_path)[0].rate_hz == rate_hz


@given(seconds=st.integers(1, 7 * 24 * 3600))
@settings(deadline=None, max_examples=50)
def test_one_sample_in_n_seconds_is_read_exactly(tmp_path_factory, seconds):
    folder = tmp_path_factory.mktemp("rate")
    rewrite(write(folder, "a", ramp(3)), "a 2 1 3", f"a 2 {1 / seconds:.12f} 3")
    exact = abs(round(1 / seconds, 12) * seconds - 1) < 1e-7
    assert not exact or read(folder)[0].rate_hz == 1 / seconds


def test_a_start_beyond_nanosecond_time_keeps_its_second(tmp_path):
    start = datetime.datetime(2896, 10, 10, 0, 31, 25, 894000)
    write(tmp_path, "a", ramp(), base_datetime=start)
    assert read(tmp_path)[0].start == np.datetime64("2896-10-10T00:31:25", "s")


@pytest.mark.parametrize(
    ("comment", "attributes"),
    [
        ("<age>: 60 <sex>: F", {"age": 60.0, "sex": "F"}),
        ("<age>: ?? <sex>: ?", {}),
        ("age: 81", {"age": 81.0}),
        ("sex: female", {"sex": "F"}),
        ("Reason for admission: n/a", {}),
        ("69 M 1085 1629 x1", {}),
    ],
)
def test_comments_become_attributes_where_they_name_one(tmp_path, comment, attributes):
    write(tmp_path, "a", ramp(), comments=[comment])
    assert read(tmp_path)[0].attributes == attributes


def test_the_group_of_the_pattern_is_the_subject(tmp_path):
    write(tmp_path, "s00001-2896-10", ramp())
    write(tmp_path, "s00001-2896-11", ramp())
    recordings = read(tmp_path, subject_pattern="^(s[0-9]+)-")
    assert [r.subject for r in recordings] == ["s00001", "s00001"]
    with pytest.raises(DataError, match=r"finds no subject in the record 's00001-2896-10'"):
        read(tmp_path, subject_pattern="^(p[0-9]+)-")


@pytest.mark.parametrize("pattern", ["^s[0-9]+", "^(s)([0-9]+)", "(s"])
def test_a_pattern_without_exactly_one_group_is_refused(pattern):
    with pytest.raises(ValidationError, match=r"groups, needs one|not a regular expression"):
        Config(root=".", subject_pattern=pattern)


def test_records_are_picked_by_name(tmp_path):
    for name in ("a100", "a101", "a102"):
        write(tmp_path, name, ramp())
    assert [r.id for r in read(tmp_path, records=("a102", "a100"))] == ["a100", "a102"]
    with pytest.raises(DataError, match=r"'a104' names 0 of the 3 records.*Did you mean"):
        read(tmp_path, records=("a104",))


def test_ids_are_paths_below_the_root_and_one_record_goes_by_its_name(tmp_path):
    write(tmp_path / "p1", "x", ramp())
    write(tmp_path / "p2", "x", ramp())
    assert [r.id for r in read(tmp_path)] == ["p1/x", "p2/x"]
    assert [r.id for r in read(tmp_path / "p2" / "x")] == ["x"]
    assert [r.id for r in read(tmp_path / "p2" / "x.dat")] == ["x"]
    with pytest.raises(DataError, match="names 2 of the 2 records"):
        read(tmp_path, records=("x",))


def test_signals_of_one_name_or_none_are_told_apart(tmp_path):
    header = write(tmp_path, "a", ramp(channels=4), list("abcd"), ["mV"] * 4)
    lines = header.read_text().splitlines()
    names = ["ECG", "ECG", "", "V"]
    signals = [
        line[:-1] + name
        for line, name in zip([x for x in lines[1:] if x[0] != "#"], names, strict=True)
    ]
    header.write_text("\n".join([lines[0], *signals]) + "\n")
    (recording,) = read(tmp_path)
    assert recording.channels == ("ECG", "ECG#2", "signal 2", "V")
    np.testing.assert_array_equal(recording.values, ramp(channels=4))


def test_a_folder_or_file_of_a_record_is_recognised(tmp_path):
    write(tmp_path / "ward", "a", ramp())
    for path in (tmp_path, tmp_path / "ward" / "a.hea", tmp_path / "ward" / "a.dat"):
        guessed = Config.guess(path)
        assert guessed == Config(root=str(path))
        assert len(list(guessed.read(()))) == 1
    other = tmp_path / "other"
    other.mkdir()
    for content in (b"", b"\xff\xfe\x00", b"# a comment only\n", b"<html>404</html>"):
        (other / "a.hea").write_bytes(content)
        assert Config.guess(other) is None
        with pytest.raises(DataError, match=r"a\.hea"):
            read(other)
    assert Config.guess(tmp_path / "ward" / "absent.csv") is None


def test_a_folder_that_leads_back_to_itself_is_read_once(tmp_path):
    write(tmp_path, "a", ramp())
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert [r.id for r in read(tmp_path)] == ["a"]
    assert Config.guess(tmp_path) is not None
