"""Signal files against their headers: too short, too long, of no stated length, compressed."""

import numpy as np
import pytest

from contracts.wfdb_formats import BITS, encoded, write_record
from contracts.wfdb_record import ramp, read, rewrite, wfdb, write
from tsfm_adapt.errors import DataError

ROWS = {"A": list(range(1, 31)), "B": list(range(101, 131))}
FITS = ("16", "24", "32", "61", "160", "212", "310", "311")  # formats that hold these numbers


def values(rows):
    return np.array(list(rows.values()))


@pytest.mark.parametrize("format", sorted(BITS.keys() - {"80"}))
def test_a_file_that_is_too_short_is_refused_with_what_it_holds(tmp_path, format):
    header = write_record(tmp_path, "a", ROWS, format)
    signal = header.with_suffix(".dat")
    signal.write_bytes(signal.read_bytes()[:-9])
    size = signal.stat().st_size
    with pytest.raises(DataError, match=rf"a\.dat has {size} bytes, which are 2[0-9] frames; 30"):
        read(tmp_path)


def test_bytes_behind_the_samples_are_noted_where_checksums_prove_the_samples(tmp_path):
    header = write_record(tmp_path, "a", ROWS, "16")
    with header.with_suffix(".dat").open("ab") as file:
        file.write(b"\x07" * 400)
    (found,) = read(tmp_path)
    np.testing.assert_array_equal(found.values, values(ROWS))
    assert sum(found.notes.values()) == 1
    assert "go on behind the samples" in next(iter(found.notes))


def without_checksums(tmp_path, behind):
    """A record whose header stops before the checksums, with more bytes in its file."""
    header = tmp_path / "a.hea"
    (tmp_path / "a.dat").write_bytes(encoded(np.array(list(ROWS.values())).T.ravel(), "16"))
    header.write_text("a 2 100 30\na.dat 16 1/mV\na.dat 16 1/mV\n")
    with header.with_suffix(".dat").open("ab") as file:
        file.write(behind)


def test_samples_behind_those_announced_are_refused_where_nothing_proves_the_layout(tmp_path):
    without_checksums(tmp_path, b"\x07" * 400)
    with pytest.raises(
        DataError, match=r"has 520 bytes, 30 frames of 2 samples in format 16 take"
    ):
        read(tmp_path)
    (found,) = read(tmp_path, verify_checksums=False)
    np.testing.assert_array_equal(found.values, values(ROWS))
    assert sum(found.notes.values()) == 1


@pytest.mark.parametrize("behind", [bytes(392), b"\x07\x07\x07"])
def test_zeros_that_fill_a_block_and_less_than_a_frame_are_noted(tmp_path, behind):
    without_checksums(tmp_path, behind)
    (found,) = read(tmp_path)
    np.testing.assert_array_equal(found.values, values(ROWS))
    assert sum(found.notes.values()) == 1


def test_nothing_is_noted_where_the_sizes_agree(tmp_path):
    without_checksums(tmp_path, b"")
    assert read(tmp_path)[0].notes == {}


@pytest.mark.parametrize("frames", ["", " 0"])
@pytest.mark.parametrize("format", FITS)
def test_without_a_number_of_frames_the_whole_file_is_read(tmp_path, frames, format):
    rewrite(write_record(tmp_path, "a", ROWS, format), "a 2 100 30", f"a 2 100{frames}")
    (found,) = read(tmp_path)
    np.testing.assert_array_equal(found.values, values(ROWS))


def test_without_a_number_of_frames_a_file_holds_whole_ones(tmp_path):
    header = write_record(tmp_path, "a", ROWS, "16")
    rewrite(header, "a 2 100 30", "a 2 100")
    with header.with_suffix(".dat").open("ab") as file:
        file.write(b"\x07")
    with pytest.raises(DataError, match=r"has 121 bytes, 30 frames of 2 samples .* take 120"):
        read(tmp_path)


def test_without_a_number_of_frames_files_are_of_one_length(tmp_path):
    write_record(tmp_path, "b", {"B": ROWS["B"][:20]}, "16")
    header = write_record(tmp_path, "a", {"A": ROWS["A"]}, "16")
    line = (tmp_path / "b.hea").read_text().splitlines()[1]
    header.write_text(header.read_text().replace("a 1 100 30", "a 2 100") + line + "\n")
    with pytest.raises(DataError, match=r"have a\.dat 30, b\.dat 20"):
        read(tmp_path / "a")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a.dat 16 1/mV 16 0 101", "a.dat 212 1/mV 16 0 101", r"states 16\+0 and 212\+0"),
        ("a.dat 16 1/mV 16 0 101", "a.dat 16+2 1/mV 16 0 101", r"states 16\+0 and 16\+2"),
        ("a.dat 16", "a.dat 99", "formats 8, 16, .*524: .* states 99"),
    ],
)
def test_a_file_has_one_known_format(tmp_path, old, new, message):
    rewrite(write_record(tmp_path, "a", ROWS, "16"), old, new)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_signal_that_only_a_layout_announces_is_missing_throughout(tmp_path):
    header = write_record(tmp_path, "a", {"A": ROWS["A"]}, "16")
    rewrite(header, "a 1 100", "a 2 100")
    with header.open("a") as file:
        file.write("~ 0 1/mV 0 0 0 0 0 Z\n")
    (found,) = read(tmp_path)
    assert found.channels == ("A", "Z")
    assert np.isnan(found.values[1]).all()
    np.testing.assert_array_equal(found.values[0], ROWS["A"])


@pytest.mark.parametrize("named", ["a.flac", "folder/a.flac"])
def test_compressed_signals_are_read_though_the_library_refuses_their_header(tmp_path, named):
    pytest.importorskip("soundfile", reason="wfdb reads compressed signals with soundfile")
    signals = ramp(300).astype(float)
    signals[0, 3:5] = np.nan
    header = write(tmp_path, "a", signals, fmt="516")
    (plain,) = read(tmp_path)
    np.testing.assert_array_equal(plain.values, signals)
    stored = wfdb.rdheader(str(tmp_path / "a")).file_name[0]
    (tmp_path / stored).rename(tmp_path / "a.flac")
    text = header.read_text().replace(stored, named).replace("HR", "Hürde")
    header.write_bytes(text.encode("latin-1"))
    (found,) = read(tmp_path)
    assert found.channels == ("Hürde", "RESP")
    np.testing.assert_array_equal(found.values, signals)
    rewrite_bytes(header, b" 300", b"")
    with pytest.raises(DataError, match="compressed signals states their number of frames"):
        read(tmp_path)


def rewrite_bytes(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def test_an_altered_sample_is_named_with_both_sums(tmp_path):
    header = write_record(tmp_path, "a", ROWS, "61")
    signal = header.with_suffix(".dat")
    data = bytearray(signal.read_bytes())
    data[1] += 1
    signal.write_bytes(data)
    with pytest.raises(DataError, match=r"'A' of .*a\.hea does not.* sum is 466, stated is 465"):
        read(tmp_path)
    assert read(tmp_path, ("B",))[0].channels == ("B",)
