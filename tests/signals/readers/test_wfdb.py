import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.reader import ReaderContract
from contracts.wfdb_record import ramp, read, rewrite, wfdb, write
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


class TestWhose:
    def test_a_subject_that_headers_name_is_taken_where_asked_for(self, tmp_path):
        for name, code in (("n1", "p7"), ("n2", "p7"), ("n3", "p8")):
            write(tmp_path, name, ramp(), comments=[f"Subject ID: {code}", "Age: 3"])
        assert [r.subject for r in read(tmp_path)] == ["n1", "n2", "n3"]
        assert [r.subject for r in read(tmp_path, subject="header")] == ["p7", "p7", "p8"]
        guessed = Config.guess(tmp_path)
        assert guessed == Config(root=str(tmp_path), subject="header")
        assert Config.guess(tmp_path / "n1.hea").subject is None

    @pytest.mark.parametrize("codes", [("p7", "p7"), ("p7", "X"), ("p7", None), (None, None)])
    def test_codes_that_tell_nobody_apart_are_not_proposed(self, tmp_path, codes):
        for name, code in zip("ab", codes, strict=True):
            comments = ["Age: 3"] if code is None else [f"subject: {code}"]
            write(tmp_path, name, ramp(), comments=comments)
        assert Config.guess(tmp_path) == Config(root=str(tmp_path))

    def test_a_header_without_a_subject_is_refused_where_it_is_asked_for(self, tmp_path):
        write(tmp_path, "a", ramp(), comments=["subject: p7"])
        write(tmp_path, "b", ramp(), comments=["subject: X"])
        with pytest.raises(DataError, match=r"subject: header.*b\.hea has none"):
            read(tmp_path, subject="header")

    def test_there_is_one_rule_for_subjects(self):
        with pytest.raises(ValidationError, match="state one"):
            Config(root=".", subject="header", subject_pattern="(a)")


class TestLabels:
    def test_diagnoses_are_labels_and_the_rest_attributes(self, tmp_path):
        write(tmp_path, "a", ramp(), comments=["Age: 63", "Sex: Male", "Dx: 426783006,164865005"])
        write(tmp_path, "b", ramp(), comments=["Age: NaN", "Sex: Female", "Dx: 164865005"])
        write(tmp_path, "c", ramp(), comments=["Age: 41"])
        a, b, c = read(tmp_path)
        assert (a.attributes, a.labels) == (
            {"age": 63.0, "sex": "M"},
            {"Dx_426783006": 1, "Dx_164865005": 1},
        )
        assert (b.attributes, b.labels) == (
            {"sex": "F"},
            {"Dx_426783006": 0, "Dx_164865005": 1},
        )
        assert (c.attributes, c.labels) == ({"age": 41.0}, {})

    def test_what_is_picked_decides_on_the_labels(self, tmp_path):
        write(tmp_path, "a", ramp(), comments=["Dx: 1,2"])
        write(tmp_path, "b", ramp(), comments=["Dx: 2"])
        assert [r.labels for r in read(tmp_path, records=("b",))] == [{"Dx": "2"}]

    def test_other_comments_are_labels_where_they_are_named(self, tmp_path):
        write(tmp_path, "a", ramp(), comments=["Reason for admission: Myocardial infarction"])
        (found,) = read(tmp_path, labels=("reason for admission",))
        assert found.labels == {"reason for admission": "Myocardial infarction"}
        assert found.attributes == {}
        assert read(tmp_path)[0].labels == {}


def test_signals_without_a_gain_are_counts_with_a_note_and_never_millivolts(tmp_path):
    header = write(tmp_path, "a", ramp(), units=("bpm", "mV"))
    rewrite(header, "1.0(0)/mV", "0(5)/mV")
    (found,) = read(tmp_path)
    assert found.units == ("bpm", "adu")
    np.testing.assert_array_equal(found.values, ramp())
    assert list(found.notes.values()) == [1]
    assert "uncalibrated" in next(iter(found.notes))
    assert read(tmp_path, ("HR",))[0].notes == {}


def test_notes_of_a_record_stand_on_its_first_recording(tmp_path):
    wfdb.wrsamp(
        "a",
        fs=125,
        units=["mV", "mV"],
        sig_name=["A", "B"],
        e_p_signal=[np.arange(80.0), np.arange(20.0)],
        samps_per_frame=[4, 1],
        fmt=["16", "16"],
        adc_gain=[1.0, 1.0],
        baseline=[0, 0],
        write_dir=str(tmp_path),
    )
    rewrite(tmp_path / "a.hea", "1.0(0)/mV", "0")
    slow, fast = read(tmp_path)
    assert list(slow.notes.values()) == [2]
    assert fast.notes == {}


def test_a_header_of_challenge_2020_is_read_with_all_that_it_states(tmp_path):
    samples = np.arange(40, dtype="<i2").reshape(20, 2)
    (tmp_path / "A0001.mat").write_bytes(bytes(24) + samples.tobytes())
    (tmp_path / "A0001.hea").write_text(
        "A0001 2 500 20 05-Feb-2020 11:39:16\n"
        "A0001.mat 16+24 1000/mV 16 0 0 380 0 I\nA0001.mat 16+24 1000/mV 16 0 1 400 0 II\n"
        "#Age: 74\n#Sex: Male\n#Dx: 59118001\n#Rx: Unknown\n#Hx: Unknown\n#Sx: Unknown\n"
    )
    (found,) = read(tmp_path)
    np.testing.assert_array_equal(found.values, samples.T / 1000)
    assert found.start == np.datetime64("2020-02-05T11:39:16", "s")
    assert found.attributes == {"age": 74.0, "sex": "M"}
    assert found.labels == {"Dx": "59118001"}
    assert found.notes == {}


def test_a_start_that_is_not_understood_is_noted(tmp_path):
    rewrite(write(tmp_path, "a", ramp()), "a 2 1 30", "a 2 1 30 10:00:00 05-02-2020")
    (found,) = read(tmp_path)
    assert found.start is None
    assert list(found.notes.values()) == [1]


def test_annotations_of_a_record_whose_header_the_library_refuses_have_their_times(tmp_path):
    header = write(tmp_path, "a", ramp(), fs=360)
    wfdb.wrann("a", "atr", np.array([5, 20]), ["N", "V"], write_dir=str(tmp_path))
    (plain,) = read(tmp_path, annotations="atr")
    rewrite(header, "a 2 360", "ward/a 2 360")
    rewrite(header, "a.dat", "ward/a.dat")
    (found,) = read(tmp_path, annotations="atr")
    assert found.spans == plain.spans
    assert [span.start_s for span in found.spans] == [5 / 360, 20 / 360]


CASES = Path(__file__).parents[3] / ".." / "shared" / "cases"


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
class TestCases:
    def test_format_61_is_read_like_format_16(self):
        big, little = read(CASES / "formats" / "01-wfdb-format-61" / "records")
        np.testing.assert_array_equal(big.values, little.values)
        assert (big.units, big.rate_hz, big.samples) == (("mV",), 100.0, 36000)
        t = np.arange(36000)
        codes = np.round(200 * np.sin(t / 9) + 20 * np.sin(t / 1000))
        np.testing.assert_array_equal(big.values[0], codes / 200)

    def test_folders_in_names_are_read(self):
        root = CASES / "tables" / "36-wfdb-dir-in-file-name" / "data"
        found = read(root)
        assert len(found) == 10
        assert [r.id for r in found][:1] == ["median_beats/00000/00000_medians"]
        stored = np.fromfile(root / "median_beats/00000/00000_medians.dat", "<i4").reshape(-1, 2)
        gains, baselines = [6344117.125, 9481164.0], [-1842966025, -2062153171]
        np.testing.assert_array_equal(found[0].values, ((stored - baselines) / gains).T)

    def test_counts_are_counts(self):
        found = read(CASES / "tables" / "38-wfdb-uncalibrated" / "data")
        assert {r.units for r in found} == {("adu", "adu")}
        assert sum(count for r in found for count in r.notes.values()) == 16
        assert all((r.values == np.round(r.values)).all() for r in found)

    @pytest.mark.parametrize("folder", ["data", "utf8"])
    def test_microvolts_stay_microvolts_in_either_encoding(self, folder):
        for recording in read(CASES / "tables" / "40-wfdb-latin1-header" / folder):
            assert recording.units == ("uV", "uV")
            assert recording.channels == ("Fp1", "Atemfrequenz grün")
            assert 0.7 < np.abs(recording.values[0]).max() < 1.0
