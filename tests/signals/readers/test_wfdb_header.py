"""Header text: every field, its absence, letters beyond ASCII, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.wfdb_record import wfdb
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._wfdb_header import (
    is_list_of_segments,
    last_part,
    lines_of,
    named_files,
    parse_header,
)


def parsed(text, stem="a"):
    return parse_header(text if isinstance(text, bytes) else text.encode(), "a.hea", stem)


def test_every_field_of_a_header_is_read():
    header = parsed(
        "# first\na 1 360/125(7) 650000 10:30:25.5 02/03/1999\n"
        "a.dat 16x4:3+24 -200.5(-12)/uV 11 1024 995 -22131 0 MLII, lead one\n#Age: 3\n"
    )
    assert (header.frames, header.frames_hz, header.segments) == (650000, 360.0, None)
    assert header.start == np.datetime64("1999-03-02T10:30:25", "s")
    assert header.comments == ("first", "Age: 3")
    (line,) = header.signals
    assert (line.file, line.format, line.per_frame, line.skew, line.offset) == (
        "a.dat",
        "16",
        4,
        3,
        24,
    )
    assert (line.gain, line.baseline, line.unit) == (-200.5, -12, "uV")
    assert (line.initial, line.checksum, line.name) == (995, -22131, "MLII, lead one")


def test_fields_that_are_absent_have_the_formats_defaults():
    header = parsed("a 2\na.dat 212 200\na.dat 212 200 12 5\n")
    assert (header.frames, header.frames_hz, header.start) == (None, 250.0, None)
    first, second = header.signals
    assert (first.unit, first.baseline, first.checksum, first.name) == ("mV", 0, None, "")
    assert second.baseline == 5  # that of the converter's zero


@pytest.mark.parametrize("gain", ["", "0", "0/mV", "0(3)/mmHg", "0.0"])
def test_without_a_gain_there_is_no_unit_but_counts(gain):
    (line,) = parsed(f"a 1 100 5\na.dat 16 {gain}\n").signals
    assert (line.gain, line.unit) == (None, "adu")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a.dat 16 200/mV 16 0 0 0 0 II", "II"),
        ("a.dat 16 200/mV 16 0 II", "II"),  # fields left out
        ("a.dat 16 200/mV 16 0 0 0 0 12 lead", "12 lead"),
        ("a.dat 16 ECG lead", "ECG lead"),  # not even a gain
        ("a.dat 16 200/mV 16 0 0 0 0", ""),
    ],
)
def test_a_name_stands_where_the_numbers_end(line, name):
    assert parsed(f"a 1 100 5\n{line}\n").signals[0].name == name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_letters_beyond_ascii_are_kept_in_either_encoding(encoding):
    text = "a 1 100 5\na.dat 16 200/µV 16 0 0 0 0 Atemfrequenz grün\n# Größe: 1.80\n"
    header = parsed(text.encode(encoding))
    assert (header.signals[0].unit, header.signals[0].name) == ("uV", "Atemfrequenz grün")
    assert header.comments == ("Größe: 1.80",)


def test_each_line_is_decoded_by_itself():
    raw = "a 1 100 5\na.dat 16 200/µV 16 0 0 0 0 x\n".encode("latin-1") + "#ü: 1\n".encode()
    assert parsed(raw).signals[0].unit == "uV"
    assert parsed(raw).comments == ("ü: 1",)


@pytest.mark.parametrize("record", ["a", "folder/a", "deep/folder/a", "folder\\a"])
def test_a_record_may_be_named_with_its_folder(record):
    header = parsed(f"{record} 1 100 5\n{record}.dat 16 200/mV\n")
    assert header.segments is None
    assert last_part(header.signals[0].file) == "a.dat"


def test_a_folder_and_another_name_are_refused():
    with pytest.raises(DataError, match=r"a\.hea is that of 'folder/b'"):
        parsed("folder/b 1 100 5\nb.dat 16 200/mV\n")


def test_a_number_behind_the_name_counts_segments_unless_it_is_the_record():
    assert parsed("a/2 1 100 8\nx 3\ny 5\n").segments == (("x", 3), ("y", 5))
    assert parsed("folder/a/2 1 100 8\nx 3\ny 5\n").segments == (("x", 3), ("y", 5))
    hundred = parsed("mitdb/100 1 360 5\n100.dat 212 200 11 1024 995 0 0 MLII\n", "100")
    assert hundred.segments is None
    assert hundred.signals[0].name == "MLII"
    assert is_list_of_segments(["100/1 1 360 5", "x 5"], "100")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 bytes"),
        ("# only this\n", "no such line"),
        ("a\n", "number of signals"),
        ("a two 100\n", "'two'"),
        ("a 2 100 5\na.dat 16 1/mV\n", "announces 2 and has 1. It was cut short"),
        ("a 1 100 5\na.dat 16 1/mV\na.dat 16 1/mV\n", "announces 1 and has 2. Correct the number"),
        ("a/3 1 100 8\nx 3\ny 5\n", "line for each segment.*announces 3 and has 2"),
        ("a/2 1 100 8\nx three\ny 5\n", "'x three'"),
        ("a 1 0 5\na.dat 16\n", "positive rate.*'0'"),
        ("a 1 nan 5\na.dat 16\n", "positive rate"),
        ("a 1 100 5.5\na.dat 16\n", "number of frames.*'5.5'"),
        ("a 1 100 5\na.dat\n", "'a.dat'"),
        ("a 1 100 5 10:00:00 31/02/2000\na.dat 16\n", "'10:00:00 31/02/2000'"),
        ("a 1 100 5 25:00:00 01/02/2000\na.dat 16\n", "DD/MM/YYYY"),
    ],
)
def test_what_is_no_header_is_refused_with_what_stands_there(text, message):
    with pytest.raises(DataError, match=message) as caught:
        parsed(text)
    assert "a.hea" in str(caught.value)


@pytest.mark.parametrize("rest", ["", " 10:00:00", " 0:0:0 0/0/0", " 01/02/2000"])
def test_a_start_without_date_and_time_is_none(rest):
    header = parsed(f"a 1 100 5{rest}\na.dat 16\n")
    assert (header.start, header.understood) == (None, True)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("11:39:16 05/02/2020", "2020-02-05T11:39:16"),
        ("05-Feb-2020 11:39:16", "2020-02-05T11:39:16"),  # as Challenge 2020 has it
        ("11:39:16.25 2020-02-05", "2020-02-05T11:39:16"),
        ("39:16 5/2/2020", "2020-02-05T00:39:16"),
        ("16 5/2/2896", "2896-02-05T00:00:16"),
    ],
)
def test_a_start_is_read_where_it_leaves_no_doubt(text, start):
    header = parsed(f"a 1 100 5 {text}\na.dat 16\n")
    assert (header.start, header.understood) == (np.datetime64(start, "s"), True)


@pytest.mark.parametrize("text", ["11:39:16 05-02-2020", "11:39:16 5/2/20", "noon today"])
def test_a_start_in_doubt_is_unknown_and_says_so(text):
    header = parsed(f"a 1 100 5 {text}\na.dat 16\n")
    assert (header.start, header.understood) == (None, False)


def test_files_of_a_header_are_named_without_a_check():
    lines, comments = lines_of(b"a 2 1 0\n~ 0 1/bpm\nx/b.dat 16\n# c\n")
    assert named_files(lines) == {"x/b.dat"}
    assert comments == ("c",)


@given(
    gain=st.floats(1e-6, 1e9),
    baseline=st.integers(-(2**31), 2**31),
    unit=st.sampled_from(["mV", "mmHg", "%", "bpm"]),
    skew=st.integers(0, 9),
    per_frame=st.integers(1, 9),
    checksum=st.integers(-32768, 32767),
    rate=st.floats(0.01, 1e5).map(lambda rate: round(rate, 6)),
)
@settings(deadline=None, max_examples=100)
def test_the_library_reads_plain_headers_alike(tmp_path_factory, **fields):
    folder = tmp_path_factory.mktemp("header")
    line = "a.dat 16x{per_frame}:{skew} {gain:.6f}({baseline})/{unit} 16 3 4 {checksum} 0 II x"
    text = f"a 1 {fields['rate']:.6f} 77\n{line.format(**fields)}\n# Age: 3\n"
    (folder / "a.hea").write_text(text)
    other, own = wfdb.rdheader(str(folder / "a")), parsed(text)
    (signal,) = own.signals
    assert (own.frames, own.frames_hz) == (other.sig_len, pytest.approx(other.fs, rel=1e-9))
    assert [signal.gain] == other.adc_gain
    assert [signal.baseline] == other.baseline
    assert [signal.per_frame] == other.samps_per_frame
    assert [signal.skew] == other.skew
    assert [signal.checksum] == other.checksum
    assert [signal.name] == other.sig_name
    assert [signal.unit] == other.units
    assert list(own.comments) == other.comments
