"""What is inside an EDF file: annotations, records with gaps between them, and damage."""

import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.edf_file import edfio, hypnogram, mixed, patch, read, write
from contracts.reader import stretches
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._edf_file import read_header
from tsfm_adapt.signals.readers.edf import Config
from tsfm_adapt.signals.recording import Span


def test_scaling_is_the_headers(tmp_path):
    write(tmp_path / "a.edf", {"A": (4, "uV", np.arange(24.0))})
    patch(tmp_path / "a.edf", 256 + 16 + 80 + 8, b"-1      ")
    patch(tmp_path / "a.edf", 256 + 16 + 80 + 8 + 8, b"1       ")
    (recording,) = read(tmp_path)
    digital = np.arange(24.0)
    expected = -1 + (digital + 2048) * 2 / 4095
    np.testing.assert_allclose(recording.values[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("raw", "unit"), [(b"\xb5V", "µV"), ("µV".encode(), "µV"), (b"", "")])
def test_units_that_are_no_ascii_are_read_as_they_are_meant(tmp_path, raw, unit):
    write(tmp_path / "a.edf")
    patch(tmp_path / "a.edf", 256 + 96, raw.ljust(8))
    assert read(tmp_path)[0].units == (unit,)


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (b"HOSP0001 F 02-MAY-1951 X", "HOSP0001"),
        (b"X F X Female_33yr", None),
        (b"X X X X", None),
        (b"anonymous X X X", None),
        (b"P07", "P07"),
        (b"Doe", None),
        (b"Jane Doe, 1951", None),
        (b"", None),
    ],
)
def test_a_patients_code_is_read_and_a_name_never_is(tmp_path, field, code):
    path = write(tmp_path / "a.edf")
    patch(path, 8, field.ljust(80))
    patch(path, 192, b" " * 44)
    assert read_header(path).code == code


def test_in_edf_plus_the_first_word_is_the_code(tmp_path):
    path = write(tmp_path / "a.edf")
    patch(path, 8, b"Q M".ljust(80))
    patch(path, 192, b"EDF+C")
    assert read_header(path).code == "Q"


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

    def test_a_file_that_was_never_closed_is_refused_with_the_records_it_holds(self, tmp_path):
        patch(write(tmp_path / "a.edf"), 236, b"-1      ")
        with pytest.raises(DataError, match=r"It holds 6 whole records: write that number"):
            read(tmp_path)
        patch(tmp_path / "a.edf", 236, b"6       ")
        assert read(tmp_path)[0].samples == 24

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
