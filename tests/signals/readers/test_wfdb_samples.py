"""Samples of every format, against files that are written bit by bit after the manual."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.wfdb_formats import BITS, encoded, limits, write_record
from contracts.wfdb_record import read, wfdb
from tsfm_adapt.signals.readers._wfdb_samples import (
    UNCOMPRESSED,
    bytes_of,
    decoded,
    missing_code,
    samples_in,
)


@st.composite
def stored(draw):
    """A format, samples a frame of each signal, and samples of every signal that it can hold."""
    format = draw(st.sampled_from(sorted(BITS)))
    per_frame = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    frames = draw(st.integers(1, 9))
    sample = st.integers(*limits(format))
    signals = [draw(st.lists(sample, min_size=n * frames, max_size=n * frames)) for n in per_frame]
    return format, per_frame, signals


def in_file_order(per_frame, signals):
    frames = len(signals[0]) // per_frame[0]
    return [
        sample
        for frame in range(frames)
        for own, row in zip(per_frame, signals, strict=True)
        for sample in row[frame * own : (frame + 1) * own]
    ]


@given(record=stored())
@settings(deadline=None, max_examples=300)
def test_what_is_written_after_the_manual_is_decoded(record):
    format, per_frame, signals = record
    raw = np.frombuffer(encoded(in_file_order(per_frame, signals), format), np.uint8)
    frames = len(signals[0]) // per_frame[0]
    found = decoded(raw, format, frames, per_frame, [0] * len(signals))
    assert [row.tolist() for row in found] == signals


@given(record=stored(), head=st.binary(max_size=9))
@settings(deadline=None, max_examples=100)
def test_a_record_reads_as_its_samples_whatever_its_format(tmp_path_factory, record, head):
    format, per_frame, signals = record
    folder = tmp_path_factory.mktemp("record")
    rows = {f"c{number}": row for number, row in enumerate(signals)}
    write_record(folder, "a", rows, format, per_frame=per_frame, head=head)
    found = {
        name: row for r in read(folder) for name, row in zip(r.channels, r.values, strict=True)
    }
    assert {name: row.tolist() for name, row in found.items()} == rows


@pytest.mark.parametrize("format", sorted(BITS))
def test_the_library_reads_the_same(tmp_path, format):
    rng = np.random.default_rng(17)
    low, high = limits(format)
    rows = {name: rng.integers(low, high, 31, endpoint=True) for name in ("a", "b", "c")}
    header = write_record(tmp_path, "r", rows, format, gain="13.7(-5)/mV")
    other = wfdb.rdrecord(str(header.with_suffix(""))).p_signal.T
    np.testing.assert_array_equal(read(tmp_path)[0].values, other)


def test_format_61_is_format_16_with_its_bytes_swapped(tmp_path):
    rows = {"ECG": [0, 1, -1, 255, 256, -256, 32767, -32767]}
    big = write_record(tmp_path, "big", rows, "61").with_suffix(".dat")
    little = write_record(tmp_path, "little", rows, "16").with_suffix(".dat")
    assert big.read_bytes()[::2] == little.read_bytes()[1::2]
    first, second = read(tmp_path)
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize("format", sorted(BITS))
def test_the_lowest_number_means_that_there_is_no_sample(tmp_path, format):
    low, _ = limits(format)
    write_record(tmp_path, "a", {"x": [low - 1, low, 0]}, format)
    np.testing.assert_array_equal(read(tmp_path)[0].values, [[np.nan, low, 0]])
    assert missing_code(format) == low - 1


def test_differences_add_up_from_the_initial_value(tmp_path):
    (tmp_path / "a.dat").write_bytes(bytes([0, 5, 255, 1, 128, 2]))
    (tmp_path / "a.hea").write_text(
        "a 2 100 3\na.dat 8 1/mV 16 0 100 261 0 A\na.dat 8 1/mV 16 0 -7 13 0 B\n"
    )
    (found,) = read(tmp_path, verify_checksums=False)
    np.testing.assert_array_equal(found.values, [[100, 99, -29], [-2, -1, 1]])


@given(format=st.sampled_from(sorted(UNCOMPRESSED)), samples=st.integers(0, 10_000))
@settings(deadline=None)
def test_as_many_bytes_as_needed_hold_the_samples(format, samples):
    held = samples_in(format, bytes_of(format, samples))
    assert samples <= held <= samples + 1
    if format in BITS:
        written = len(encoded([0] * samples, format))
        assert bytes_of(format, samples) <= written <= bytes_of(format, samples) + 3
