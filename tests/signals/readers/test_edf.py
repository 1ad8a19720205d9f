import datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.edf_file import edfio, hypnogram, mixed, patch, read, write
from contracts.reader import ReaderContract
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import clean
from tsfm_adapt.signals.readers.edf import Config


class TestEdfContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        marks = [edfio.EdfAnnotation(1.0, 2.5, "N2"), edfio.EdfAnnotation(4.0, None, "spike")]
        write(tmp_path / "nights" / "a.edf", mixed(), annotations=marks)
        write(tmp_path / "nights" / "deep" / "b.EDF", mixed(9))
        return Config(root=str(tmp_path / "nights"))


def test_values_units_names_and_times_are_those_of_the_file(tmp_path):
    write(tmp_path / "a.edf", mixed())
    slow, fast = read(tmp_path)
    assert [(r.id, r.multirate_id, r.rate_hz) for r in (slow, fast)] == [
        ("a/1Hz", "a", 1.0),
        ("a/4Hz", "a", 4.0),
    ]
    assert (slow.channels, slow.units) == (("Temp",), ("degC",))
    assert (fast.channels, fast.units) == (("EEG Fpz-Cz", "Fc5"), ("uV", "uV"))
    assert slow.start == fast.start == np.datetime64("1989-04-24T16:13:05", "s")
    np.testing.assert_array_equal(fast.values, [np.arange(24), -np.arange(24)])
    np.testing.assert_array_equal(slow.values, [30 + np.arange(6)])


def test_one_rate_among_the_channels_asked_for_keeps_the_id(tmp_path):
    write(tmp_path / "a.edf", mixed())
    (recording,) = read(tmp_path, ("Temp",))
    assert (recording.id, recording.multirate_id, recording.rate_hz) == ("a", None, 1.0)
    (recording,) = read(tmp_path, ("nothing",))
    assert (recording.channels, recording.samples) == ((), 24)


def test_only_the_channels_asked_for_are_scaled(tmp_path, monkeypatch):
    write(tmp_path / "a.edf", {f"C{n}": (4, "uV", np.arange(24.0)) for n in range(64)})
    scaled = []
    whole = edfio.EdfSignal._calibrate
    monkeypatch.setattr(
        edfio.EdfSignal,
        "_calibrate",
        lambda signal, digital: scaled.append(signal.label) or whole(signal, digital),
    )
    read(tmp_path, ("C3", "C60"))
    assert scaled == ["C3", "C60"]


def test_files_are_opened_one_at_a_time_and_all_headers_first(tmp_path):
    for name in "abc":
        write(tmp_path / f"{name}.edf")
    recordings = Config(root=str(tmp_path)).read(())
    assert next(recordings).id == "a"
    (tmp_path / "c.edf").write_bytes(b"")  # its header was read already, its data was not
    assert next(recordings).id == "b"
    with pytest.raises(DataError, match=r"c\.edf must be a valid EDF file"):
        next(recordings)


def test_signals_of_one_name_or_none_are_told_apart(tmp_path):
    labels = ["ECG", "ECG.", "", "V.."]
    write(tmp_path / "a.edf", {f"x{n}": (1, "mV", np.full(6, n)) for n in range(4)})
    for number, label in enumerate(labels):
        patch(tmp_path / "a.edf", 256 + 16 * number, label.ljust(16).encode())
    (recording,) = read(tmp_path)
    assert recording.channels == ("ECG", "ECG#2", "signal 2", "V")
    np.testing.assert_array_equal(recording.values[:, 0], [0, 1, 2, 3])


def test_a_missing_unit_has_to_be_stated_by_the_recipe(tmp_path):
    write(tmp_path / "a.edf", {"Resp": (4, "", np.arange(24.0))})
    with pytest.raises(DataError, match=r"data\.channels\.Resp of a: .*not stated.*from_unit"):
        clean(read(tmp_path), CleaningPlan((ChannelPlan("Resp", "1", "Resp"),), 4.0))
    (cleaned,) = clean(read(tmp_path), CleaningPlan((ChannelPlan("Resp", "1", "Resp", "1"),), 4.0))
    np.testing.assert_array_equal(cleaned.values[0], np.arange(24))


def test_mixed_rates_share_one_clock_after_cleaning(tmp_path):
    write(tmp_path / "a.edf", mixed())
    channels = (ChannelPlan("eeg", "uV", "EEG Fpz-Cz"), ChannelPlan("temp", "degC", "Temp"))
    (night,) = clean(read(tmp_path, ("EEG Fpz-Cz", "Temp")), CleaningPlan(channels, 4.0))
    assert night.id == "a"
    np.testing.assert_array_equal(night.values[0], np.arange(24))
    np.testing.assert_array_equal(night.values[1, ::4], 30 + np.arange(6))
    assert np.isnan(night.values[1].reshape(6, 4)[:, 1:]).all()


class TestWhose:
    def test_the_group_of_the_pattern_is_the_subject(self, tmp_path):
        for night in (1, 2):
            write(tmp_path / f"SC400{night}E0.edf", date=datetime.date(1989, 4, 23 + night))
        assert {r.subject for r in read(tmp_path, subject_pattern="^(SC4[0-9]{2})")} == {"SC400"}
        assert [r.subject for r in read(tmp_path)] == ["SC4001E0", "SC4002E0"]
        with pytest.raises(DataError, match="finds no subject in the record 'SC4001E0'"):
            read(tmp_path, subject_pattern="^(ST7)")

    def test_files_of_one_subject_that_overlap_are_refused(self, tmp_path):
        write(tmp_path / "p1_a.edf")
        write(tmp_path / "p1_b.edf", starttime=datetime.time(16, 13, 8))
        with pytest.raises(DataError, match=r"follow each other.*p1_a.*lasts 6 s.*p1_b"):
            read(tmp_path, subject_pattern="^(p1)")
        assert len(read(tmp_path)) == 2
        assert len(read(tmp_path, subject_pattern="^(p1)", records=("p1_b",))) == 1

    @pytest.mark.parametrize(
        ("dates", "starts"),
        [
            ((1989, 1989), (5, 5)),  # one start in all files of a data set
            ((1985, 1985), (5, 8)),  # 1 January 1985: the date was withheld
        ],
    )
    def test_clocks_that_mean_nothing_are_not_compared(self, tmp_path, dates, starts):
        for name, year, second in zip("ab", dates, starts, strict=True):
            start = datetime.time(16, 13, second)
            write(tmp_path / f"p1_{name}.edf", date=datetime.date(year, 1, 1), starttime=start)
        recordings = read(tmp_path, subject_pattern="^(p1)")
        assert [r.start is None for r in recordings] == [dates[0] == 1985] * 2

    def test_sex_and_age_are_attributes_and_names_are_not_kept(self, tmp_path):
        patient = edfio.Patient(
            code="X17", sex="F", birthdate=datetime.date(1956, 2, 1), name="Jane_Doe"
        )
        write(tmp_path / "a.edf", patient=patient)
        assert read(tmp_path)[0].attributes == {"sex": "F", "age": 33.0}

    def test_records_are_picked_by_name(self, tmp_path):
        for name in ("a1", "a2", "deep/a2"):
            write(tmp_path / f"{name}.edf")
        assert [r.id for r in read(tmp_path, records=("a1", "deep/a2"))] == ["a1", "deep/a2"]
        with pytest.raises(DataError, match=r"'a3' names 0 of the 3 records.*Did you mean"):
            read(tmp_path, records=("a3",))
        with pytest.raises(DataError, match=r"'a2\.edf' names 2 of"):
            read(tmp_path, records=("a2.edf",))

    def test_the_code_in_the_header_is_the_subject_where_asked_for(self, tmp_path):
        nights(tmp_path, {"n1": "HOSP7", "n2": "HOSP7", "n3": "HOSP8"})
        assert [r.subject for r in read(tmp_path)] == ["n1", "n2", "n3"]
        assert [r.subject for r in read(tmp_path, subject="header")] == ["HOSP7", "HOSP7", "HOSP8"]
        assert Config.guess(tmp_path) == Config(root=str(tmp_path), subject="header")

    def test_codes_that_all_differ_are_subjects_too(self, tmp_path):
        nights(tmp_path, {"n1": "A1", "n2": "B2"})
        assert Config.guess(tmp_path).subject == "header"

    @pytest.mark.parametrize(
        "codes", [("H7", "H7"), ("H7", "X"), ("X", "X"), ("anonymous", "anonymous"), ("H7",)]
    )
    def test_codes_that_tell_nobody_apart_are_not_proposed(self, tmp_path, codes):
        nights(tmp_path, {f"n{number}": code for number, code in enumerate(codes)})
        assert Config.guess(tmp_path) == Config(root=str(tmp_path))

    def test_a_header_without_a_code_is_refused_where_it_is_asked_for(self, tmp_path):
        nights(tmp_path, {"n1": "H7", "n2": "X"})
        with pytest.raises(DataError, match=r"subject: header.*n2\.edf has none"):
            read(tmp_path, subject="header")
        with pytest.raises(ValidationError, match="state one"):
            Config(root=".", subject="header", subject_pattern="(a)")

    def test_files_of_a_code_must_not_overlap(self, tmp_path):
        nights(tmp_path, {"n1": "H7", "n2": "H7"})
        start = datetime.time(16, 13, 8)
        patient = edfio.Patient(code="H7")
        write(tmp_path / "n2.edf", patient=patient, starttime=start)
        with pytest.raises(DataError, match="follow each other in time: of 'H7'"):
            read(tmp_path, subject="header")


def nights(folder, codes):
    """Files of following days by the codes of their patients."""
    for day, (name, code) in enumerate(codes.items()):
        patient = edfio.Patient(code=code)
        write(folder / f"{name}.edf", date=datetime.date(1989, 4, 24 + day), patient=patient)


def kill(path, signal, of=3, limit="digital"):
    """Makes the minimum of a signal's limits its maximum."""
    at = 256 + of * (16 + 80 + 8 + (16 if limit == "digital" else 0)) + 8 * signal
    patch(path, at, b"2047    ")
    patch(path, at + of * 8, b"2047    ")


class TestDeadChannels:
    @pytest.mark.parametrize("limit", ["digital", "physical"])
    def test_those_that_nobody_names_are_left_out_with_a_note(self, tmp_path, limit):
        whole = read(write(tmp_path / "a.edf", mixed()))
        kill(tmp_path / "a.edf", 0, limit=limit)
        slow, fast = read(tmp_path)
        assert (slow.channels, fast.channels) == (("Temp",), ("Fc5",))
        assert slow.notes == {
            "channels without a scale (minimum = maximum), left out (EEG Fpz-Cz)": 1
        }
        assert fast.notes == {}
        np.testing.assert_array_equal(fast.values[0], whole[1].values[1])
        (named,) = read(tmp_path, ("Fc5",))
        assert named.notes == {}

    def test_one_that_is_asked_for_is_refused_by_name_unless_it_may_be_missing(self, tmp_path):
        write(tmp_path / "a.edf", mixed())
        write(tmp_path / "b.edf", mixed())
        kill(tmp_path / "b.edf", 0)
        with pytest.raises(DataError, match=r"'EEG Fpz-Cz' in .*b\.edf make no scale.*leave_out"):
            read(tmp_path, ("EEG Fpz-Cz", "Fc5"))
        a, b = read(tmp_path, ("EEG Fpz-Cz", "Fc5"), dead="leave_out")
        assert (a.channels, b.channels) == (("EEG Fpz-Cz", "Fc5"), ("Fc5",))
        assert list(b.notes.values()) == [1]
        channels = (ChannelPlan("eeg", "uV", "EEG Fpz-Cz"), ChannelPlan("c5", "uV", "Fc5"))
        _, cleaned = clean([a, b], CleaningPlan(channels, 4.0))
        assert np.isnan(cleaned.values[0]).all()

    def test_a_file_with_nothing_else_is_refused(self, tmp_path):
        write(tmp_path / "a.edf")
        kill(tmp_path / "a.edf", 0, of=1)
        with pytest.raises(DataError, match="make no scale"):
            read(tmp_path)

    def test_the_setting_is_proposed_where_a_channel_is_dead_in_some_files(self, tmp_path):
        write(tmp_path / "a.edf", mixed())
        kill(write(tmp_path / "b.edf", mixed()), 0)
        assert Config.guess(tmp_path) == Config(root=str(tmp_path), dead="leave_out")
        kill(tmp_path / "a.edf", 0)  # dead in all of them: nobody will name it
        assert Config.guess(tmp_path) == Config(root=str(tmp_path))


def test_files_that_are_not_read_are_noted_on_the_first_recording(tmp_path):
    write(tmp_path / "a-PSG.edf")
    write(tmp_path / "b-PSG.EDF")
    hypnogram(tmp_path / "a-Hypnogram.edf", [(0.0, 9.0, "W")])
    (tmp_path / "notes.TXT").write_text("nothing")
    first, second = read(tmp_path)
    assert first.notes == {
        "files below the root, not read (.txt 1)": 1,
        "files that hold annotations alone, not read": 1,
    }
    assert second.notes == {}
    (first, _) = read(tmp_path, pattern="*-PSG.edf")
    assert first.notes == {"files below the root, not read (.edf 1, .txt 1)": 2}
    (first,) = read(tmp_path, pattern="a-PSG.edf", annotations={})
    assert first.notes == {"files below the root, not read (.edf 1, .txt 1)": 2}


CASES = Path(__file__).parents[3] / ".." / "shared" / "cases" / "tables"


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
class TestCases:
    def test_dead_channels_stop_nothing(self):
        found = list(Config.guess(CASES / "43-edf-dead-channels" / "data").read(()))
        assert len(found) == 8
        assert {r.channels for r in found} == {("FP1-F7", "T8-P8", "T8-P8#2")}
        assert sum(count for r in found for count in r.notes.values()) == 16

    def test_two_nights_of_a_person_are_one_subject(self):
        found = list(Config.guess(CASES / "48-edf-two-nights-a-person" / "data").read(()))
        assert [r.subject for r in found] == [f"HOSP000{n}" for n in range(4) for _ in range(2)]

    def test_two_montages_are_one_channel(self):
        root = CASES / "68-tuh-montage-names" / "data"
        sources = ("EEG FP1-REF", "EEG FP1-LE")
        plan = CleaningPlan((ChannelPlan("FP1", "uV", sources),), 256.0)
        cleaned = clean(read(root, plan.sources), plan)
        assert len(cleaned) == 10
        assert all(np.isfinite(r.values).all() for r in cleaned)
        assert cleaned.notes == {
            "recordings with FP1 from 'EEG FP1-REF'": 5,
            "recordings with FP1 from 'EEG FP1-LE'": 5,
        }


def test_edf_is_recognised_by_its_beginning(tmp_path):
    write(tmp_path / "a" / "night.EDF")
    (tmp_path / "a" / "notes.txt").write_text("nothing")
    assert Config.guess(tmp_path) == Config(root=str(tmp_path))
    assert Config.guess(tmp_path / "a" / "night.EDF").read(()) is not None
    assert Config.guess(tmp_path / "a" / "notes.txt") is None
    (tmp_path / "a" / "broken.edf").write_bytes(b"")
    assert Config.guess(tmp_path) == Config(root=str(tmp_path))
    with pytest.raises(DataError, match=r"broken\.edf has 0 bytes"):  # by name, not "unknown"
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    assert Config.guess(tmp_path / "empty") is None
