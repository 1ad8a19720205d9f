import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.reader import ReaderContract, stretches
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.cleaning import ChannelPlan, CleaningPlan, clean
from tsfm_adapt.signals.readers.edf import Config
from tsfm_adapt.signals.recording import Span

edfio = pytest.importorskip("edfio", reason="the extra 'edf' is not installed")

SECONDS = 6


def write(path, signals=None, date=datetime.date(1989, 4, 24), **fields):
    """A file of one-second records; `signals` is {label: (rate in Hz, unit, values)}."""
    signals = signals or {"EEG Fpz-Cz": (4, "uV", np.arange(4.0 * SECONDS))}
    path.parent.mkdir(exist_ok=True, parents=True)
    edfio.Edf(
        [
            edfio.EdfSignal(
                np.asarray(values, float),
                rate,
                label=label,
                physical_dimension=unit,
                physical_range=(-2048, 2047),
                digital_range=(-2048, 2047),
            )
            for label, (rate, unit, values) in signals.items()
        ],
        recording=edfio.Recording(startdate=date),
        starttime=fields.pop("starttime", datetime.time(16, 13, 5)),
        data_record_duration=1,
        **fields,
    ).write(path)
    return path


def mixed(seconds=SECONDS):
    return {
        "EEG Fpz-Cz": (4, "uV", np.arange(4.0 * seconds)),
        "Temp": (1, "degC", 30 + np.arange(1.0 * seconds)),
        "Fc5.": (4, "uV", -np.arange(4.0 * seconds)),
    }


def hypnogram(path, stages, starttime=datetime.time(16, 13, 5), date=datetime.date(1989, 4, 24)):
    edfio.Edf(
        [],
        recording=edfio.Recording(startdate=date),
        starttime=starttime,
        annotations=[edfio.EdfAnnotation(*stage) for stage in stages],
    ).write(path)
    return path


def patch(path, first, text):
    """Overwrites bytes of a file, a header field as a rule."""
    data = bytearray(path.read_bytes())
    data[first : first + len(text)] = text
    path.write_bytes(data)


def read(root, channels=(), **fields):
    return list(Config(root=str(root), **fields).read(channels))


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
    assert [(r.id, r.part_of, r.rate_hz) for r in (slow, fast)] == [
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
    assert (recording.id, recording.part_of, recording.rate_hz) == ("a", None, 1.0)
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


def test_scaling_is_the_headers(tmp_path):
    write(tmp_path / "a.edf", {"A": (4, "uV", np.arange(24.0))})
    patch(tmp_path / "a.edf", 256 + 16 + 80 + 8, b"-1      ")
    patch(tmp_path / "a.edf", 256 + 16 + 80 + 8 + 8, b"1       ")
    (recording,) = read(tmp_path)
    digital = np.arange(24.0)
    expected = -1 + (digital + 2048) * 2 / 4095
    np.testing.assert_allclose(recording.values[0], expected, rtol=0, atol=1e-12)


def test_signals_of_one_name_or_none_are_told_apart(tmp_path):
    labels = ["ECG", "ECG.", "", "V.."]
    write(tmp_path / "a.edf", {f"x{n}": (1, "mV", np.full(6, n)) for n in range(4)})
    for number, label in enumerate(labels):
        patch(tmp_path / "a.edf", 256 + 16 * number, label.ljust(16).encode())
    (recording,) = read(tmp_path)
    assert recording.channels == ("ECG", "ECG#2", "signal 2", "V")
    np.testing.assert_array_equal(recording.values[:, 0], [0, 1, 2, 3])


@pytest.mark.parametrize(("raw", "unit"), [(b"\xb5V", "µV"), ("µV".encode(), "µV"), (b"", "")])
def test_units_that_are_no_ascii_are_read_as_they_are_meant(tmp_path, raw, unit):
    write(tmp_path / "a.edf")
    patch(tmp_path / "a.edf", 256 + 96, raw.ljust(8))
    assert read(tmp_path)[0].units == (unit,)


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


class TestAnnotations:
    def test_those_of_the_file_are_spans_and_marks(self, tmp_path):
        marks = [
            edfio.EdfAnnotation(1.0, 2.5, "N2"),
            edfio.EdfAnnotation(4.0, None, "spike"),
            edfio.EdfAnnotation(5.0, 3.0, "beyond the end"),
            edfio.EdfAnnotation(90.0, 3.0, "after the end"),
        ]
        write(tmp_path / "a.edf", annotations=marks)
        (recording,) = read(tmp_path)
        assert recording.spans == (
            Span(1.0, 3.5, "N2"),
            Span(4.0, 4.0, "spike"),
            Span(5.0, 6.0, "beyond the end"),
        )
        assert read(tmp_path, annotations=None)[0].spans == ()

    def test_a_start_between_seconds_shifts_nothing_against_the_samples(self, tmp_path):
        marks = [edfio.EdfAnnotation(1.0, 2.0, "N2")]
        start = datetime.time(16, 13, 5, 750000)
        write(tmp_path / "a.edf", annotations=marks, starttime=start)
        (recording,) = read(tmp_path)
        assert recording.spans == (Span(1.0, 3.0, "N2"),)
        assert recording.start == np.datetime64("1989-04-24T16:13:05", "s")

    def test_a_hypnogram_beside_is_aligned_by_the_clocks(self, tmp_path):
        write(tmp_path / "SC4001E0-PSG.edf")
        stages = [(0.0, 4.0, "W"), (4.0, 30.0, "N1")]
        start = datetime.time(16, 13, 3)
        hypnogram(tmp_path / "SC4001EC-Hypnogram.edf", stages, start)
        (recording,) = read(tmp_path, annotations={"key": "^(SC4[0-9]{3})"})
        assert recording.id == "SC4001E0-PSG"
        assert recording.spans == (Span(0.0, 2.0, "W"), Span(2.0, 6.0, "N1"))
        assert read(tmp_path)[0].spans == ()  # own: the signals' file has none

    def test_the_key_pairs_the_files_of_a_folder(self, tmp_path):
        for number, stage in enumerate(["W", "N1"]):
            date = datetime.date(1989, 4, 24 + number)
            write(tmp_path / f"SC40{number}1E0-PSG.edf", date=date)
            file = tmp_path / f"SC40{number}1EC-Hypnogram.edf"
            hypnogram(file, [(0.0, 9.0, stage)], date=date)
        both = read(tmp_path, annotations={"key": "^(SC4[0-9]{3})"})
        assert [r.spans[0].label for r in both] == ["W", "N1"]
        with pytest.raises(DataError, match=r"is called '\*-Hypnogram.edf'; found SC4001EC-.*key"):
            read(tmp_path, annotations={})
        (tmp_path / "SC4011EC-Hypnogram.edf").unlink()
        with pytest.raises(DataError, match="shares 'SC4011' with it; found none"):
            read(tmp_path, annotations={"key": "^(SC4[0-9]{3})"})

    def test_a_hypnogram_of_another_night_is_refused(self, tmp_path):
        write(tmp_path / "a-PSG.edf")
        stages = [(0.0, 9.0, "W")]
        hypnogram(tmp_path / "a-Hypnogram.edf", stages, date=datetime.date(1989, 4, 25))
        with pytest.raises(DataError, match=r"overlap in time .*begins 1989-04-25T16:13:05"):
            read(tmp_path, annotations={})

    def test_files_of_annotations_are_files_of_the_reader(self, tmp_path):
        night = write(tmp_path / "a-PSG.edf")
        stages = hypnogram(tmp_path / "a-Hypnogram.edf", [(0.0, 9.0, "W")])
        assert set(Config(root=str(night), annotations={}).files()) == {night, stages}
        assert set(Config(root=str(night)).files()) == {night}
        assert set(Config(root=str(tmp_path), records=("a-PSG",)).files()) == {night}

    @pytest.mark.parametrize("key", ["^SC4", "(a)(b)", "("])
    def test_a_key_has_one_group(self, key):
        with pytest.raises(ValidationError, match=r"groups, needs one|not a regular expression"):
            Config(root=".", annotations={"key": key})


def discontinuous(path, onsets, seconds=6, **fields):
    """EDF+D with the given onsets of its one-second records, which have one digit before '.'."""
    write(path, mixed(seconds), annotations=[edfio.EdfAnnotation(9, 3, "N2")], **fields)
    patch(path, 192, b"EDF+D")
    data = path.read_bytes()
    for number, onset in enumerate(onsets):
        old, new = f"+{number}\x14\x14".encode(), f"+{onset}\x14\x14".encode()
        assert len(old) == len(new)
        assert data.count(old) == 1
        data = data.replace(old, new)
    path.write_bytes(data)
    return path


class TestDiscontinuous:
    def test_a_gap_cuts_the_file_into_stretches_with_their_own_times(self, tmp_path):
        discontinuous(tmp_path / "a.edf", [0, 1, 2, 8, 9], 5)
        found = stretches(read(tmp_path))
        assert list(found) == ["a#1", "a#2"]
        first, second = (parts[1] for parts in found.values())
        assert (first.samples, second.samples) == (12, 8)
        assert first.start == np.datetime64("1989-04-24T16:13:05", "s")
        assert second.start == np.datetime64("1989-04-24T16:13:13", "s")
        np.testing.assert_array_equal(first.values[0], np.arange(12))
        np.testing.assert_array_equal(second.values[0], np.arange(12, 20))
        assert first.spans == ()
        assert second.spans == (Span(1.0, 2.0, "N2"),)

    def test_without_a_gap_it_is_one_stretch(self, tmp_path):
        discontinuous(tmp_path / "a.edf", [0, 1, 2], 3)
        assert list(stretches(read(tmp_path))) == ["a"]

    def test_records_out_of_order_are_refused(self, tmp_path):
        discontinuous(tmp_path / "a.edf", [0, 1, 4, 3], 4)
        with pytest.raises(DataError, match=r"record 3 of .*a\.edf begins at 4 s .* at 3 s"):
            read(tmp_path)

    def test_a_record_without_its_time_is_refused(self, tmp_path):
        path = discontinuous(tmp_path / "a.edf", [0, 1, 2], 3)
        path.write_bytes(path.read_bytes().replace(b"+1\x14\x14", b"x1\x14\x14"))
        with pytest.raises(DataError, match=r"record 2 of .*a\.edf|valid EDF"):
            read(tmp_path)


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


class TestBrokenFiles:
    @pytest.mark.parametrize("kept", [0, 7, 200, 256, 300, 511, 512, 515, -1, -48])
    def test_a_truncated_file_is_refused(self, tmp_path, kept):
        path = write(tmp_path / "a.edf")
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(DataError, match=r"a\.edf (has|announces).* bytes"):
            read(tmp_path)

    def test_a_file_with_more_than_its_header_announces_is_refused(self, tmp_path):
        path = write(tmp_path / "a.edf")
        path.write_bytes(path.read_bytes() + b"\0\0")
        with pytest.raises(DataError, match="has 562 bytes, 6 records of 8 bytes"):
            read(tmp_path)

    @pytest.mark.parametrize(
        "content", [b"time,HR\n0,60\n" * 40, b"\x1f\x8b" * 300, b"\xffBIOSEMI" + b" " * 600]
    )
    def test_other_content_is_refused(self, tmp_path, content):
        (tmp_path / "a.edf").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.edf (begins with|is BDF)"):
            read(tmp_path)
        assert Config.guess(tmp_path) is None

    @pytest.mark.parametrize(
        ("at", "text", "message"),
        [
            (236, b"-1      ", "number of records: .*'-1'.*never closed"),
            (236, b"7       ", "need 568"),
            (244, b"0       ", "duration of a record"),
            (244, b"nan     ", "duration of a record"),
            (252, b"0   ", "number of signals"),
            (252, b"9   ", "announces 9"),
            (256 + 216, b"0       ", "number of samples"),
            (256 + 216, b"4.5     ", "number of samples"),
            (256 + 104, b"2047    ", "'EEG Fpz-Cz' in .* make no scale"),
            (256 + 104, b"x       ", "make no scale"),
            (256 + 120, b"2047    ", "make no scale"),
        ],
    )
    def test_a_broken_header_is_refused(self, tmp_path, at, text, message):
        patch(write(tmp_path / "a.edf"), at, text)
        with pytest.raises(DataError, match=message) as caught:
            read(tmp_path)
        assert str(tmp_path / "a.edf") in str(caught.value)

    @pytest.mark.parametrize("date", [b"00.00.00", b"  .  .  ", b"31.02.99"])
    def test_a_start_that_is_no_date_is_unknown(self, tmp_path, date):
        patch(write(tmp_path / "a.edf"), 168, date)
        assert read(tmp_path)[0].start is None

    def test_broken_annotations_are_named(self, tmp_path):
        path = write(tmp_path / "a.edf", annotations=[edfio.EdfAnnotation(1, 2, "N2")])
        path.write_bytes(path.read_bytes().replace(b"N2\x14", b"\xff\xfe\x14"))
        with pytest.raises(DataError, match=r"a\.edf must be a valid EDF file"):
            read(tmp_path)
        assert read(tmp_path, annotations=None)[0].spans == ()

    def test_annotations_alone_are_no_record(self, tmp_path):
        hypnogram(tmp_path / "h.edf", [(0.0, 9.0, "W")])
        with pytest.raises(DataError, match=r"none of the 1 files .* besides annotations"):
            read(tmp_path)

    def test_a_folder_without_files_is_refused(self, tmp_path):
        (tmp_path / "a.rec").write_bytes(b"")
        (tmp_path / ".a.edf").write_bytes(b"")
        with pytest.raises(DataError, match=r"hold no visible file called '\*\.edf'"):
            read(tmp_path)

    def test_a_link_to_the_folder_above_is_not_followed(self, tmp_path):
        write(tmp_path / "p" / "a.edf")
        (tmp_path / "p" / "up").symlink_to(tmp_path)
        assert [r.id for r in read(tmp_path)] == ["p/a"]
        assert Config.guess(tmp_path) is not None

    def test_a_link_to_nowhere_is_named(self, tmp_path):
        (tmp_path / "a.edf").symlink_to(tmp_path / "gone.edf")
        with pytest.raises(DataError, match=r"a\.edf must be a readable file: No such file"):
            read(tmp_path)

    def test_a_file_that_the_system_refuses_is_named(self, tmp_path, monkeypatch):
        write(tmp_path / "a.edf")

        def refuse(self, *arguments, **fields):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(DataError, match=r"a\.edf must be a readable file: Permission denied"):
            read(tmp_path)

    def test_files_that_would_share_an_id_are_refused(self, tmp_path):
        write(tmp_path / "a.edf")
        write(tmp_path / "a.EDF")
        with pytest.raises(DataError, match="would share an id"):
            read(tmp_path)

    @given(noise=st.binary(max_size=120), at=st.integers(0, 600))
    @settings(deadline=None, max_examples=60)
    def test_no_file_leaves_as_a_library_error(self, tmp_path_factory, noise, at):
        folder = tmp_path_factory.mktemp("noise")
        path = write(folder / "a.edf", annotations=[edfio.EdfAnnotation(1, 2, "N2")])
        data = bytearray(path.read_bytes())
        data[at : at + len(noise)] = noise
        path.write_bytes(data)
        try:
            recordings = read(folder)
        except DataError as error:
            message = str(error)
        else:
            message = "" if all(np.isfinite(r.values).all() for r in recordings) else "not finite"
        assert not message or str(folder) in message


def test_edf_is_recognised_by_its_beginning(tmp_path):
    write(tmp_path / "a" / "night.EDF")
    (tmp_path / "a" / "notes.txt").write_text("nothing")
    assert Config.guess(tmp_path) == Config(root=str(tmp_path))
    assert Config.guess(tmp_path / "a" / "night.EDF").read(()) is not None
    assert Config.guess(tmp_path / "a" / "notes.txt") is None
    (tmp_path / "empty").mkdir()
    assert Config.guess(tmp_path / "empty") is None
