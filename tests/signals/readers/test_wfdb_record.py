"""What is inside a WFDB record: rates, skew, segments, annotations, and damage."""

import datetime

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.wfdb_record import ramp, read, rewrite, wfdb, write
from tsfm_adapt.errors import DataError


class TestSeveralRates:
    @pytest.fixture
    def root(self, tmp_path):
        slow = np.arange(20.0)
        wfdb.wrsamp(
            "a",
            fs=125,
            units=["mV", "mmHg"],
            sig_name=["ECG", "ABP"],
            e_p_signal=[np.arange(80.0), slow],
            samps_per_frame=[4, 1],
            fmt=["16", "16"],
            adc_gain=[1.0, 1.0],
            baseline=[0, 0],
            write_dir=str(tmp_path),
        )
        return tmp_path

    def test_each_rate_is_a_recording_with_every_sample(self, root):
        slow, fast = read(root)
        assert [(r.id, r.rate_hz, r.channels) for r in (slow, fast)] == [
            ("a/125Hz", 125.0, ("ABP",)),
            ("a/500Hz", 500.0, ("ECG",)),
        ]
        assert slow.subject == fast.subject == slow.multirate_id == fast.multirate_id == "a"
        np.testing.assert_array_equal(slow.values[0], np.arange(20.0))
        np.testing.assert_array_equal(fast.values[0], np.arange(80.0))

    def test_one_rate_among_the_channels_asked_for_keeps_the_id(self, root):
        (recording,) = read(root, ("ECG",))
        assert (recording.id, recording.rate_hz, recording.multirate_id) == ("a", 500.0, None)


def test_skewed_signals_are_shifted_into_place(tmp_path):
    header = write(tmp_path, "a", ramp(channels=3), ("A", "B", "C"), ("mV",) * 3)
    lines = header.read_text().splitlines()
    lines[1:3] = [lines[1].replace(" 16 ", " 16:4 "), lines[2].replace(" 16 ", " 16:2 ")]
    header.write_text("\n".join(lines) + "\n")
    a, b, c = read(tmp_path)[0].values
    for shifted, stored, skew in [(a, ramp(channels=3)[0], 4), (b, ramp(channels=3)[1], 2)]:
        np.testing.assert_array_equal(shifted[:-skew], stored[skew:])
        assert np.isnan(shifted[-skew:]).all()
    np.testing.assert_array_equal(c, ramp(channels=3)[2])


def test_signals_in_a_mat_file_are_read_behind_its_head(tmp_path):
    samples = np.arange(40, dtype="<i2")
    (tmp_path / "m.mat").write_bytes(bytes(24) + samples.tobytes())
    (tmp_path / "m.hea").write_text(
        "m 2 250 20\nm.mat 16+24 2/mV 16 0 0 380 0 II\nm.mat 16+24 2/NU 16 0 1 400 0 PLETH\n"
    )
    (recording,) = read(tmp_path)
    np.testing.assert_array_equal(recording.values, samples.reshape(20, 2).T / 2)


class TestSegments:
    @pytest.fixture
    def root(self, tmp_path):
        start = datetime.datetime(2100, 1, 2, 3, 4, 5)
        write(tmp_path, "a_1", ramp(10))
        write(tmp_path, "a_2", ramp(5) + 50)
        (tmp_path / "a.hea").write_text(
            f"a/3 2 1 25 {start:%H:%M:%S} {start:%d/%m/%Y}\na_1 10\n~ 10\na_2 5\n"
        )
        return tmp_path

    def test_they_are_one_recording_with_nan_in_the_gap(self, root):
        (recording,) = read(root)
        assert (recording.id, recording.samples) == ("a", 25)
        assert recording.start == np.datetime64("2100-01-02T03:04:05", "s")
        np.testing.assert_array_equal(recording.values[:, :10], ramp(10))
        assert np.isnan(recording.values[:, 10:20]).all()
        np.testing.assert_array_equal(recording.values[:, 20:], ramp(5) + 50)

    def test_a_channel_may_come_and_go(self, root):
        write(root, "a_2", ramp(5)[:1] + 50, ("RESP",), ("pm",))
        (root / "a_0.hea").write_text(
            "a_0 2 1 0\n~ 0 1/bpm 0 0 0 0 0 HR\n~ 0 1/pm 0 0 0 0 0 RESP\n"
        )
        (root / "a.hea").write_text("a/4 2 1 25\na_0 0\na_1 10\n~ 10\na_2 5\n")
        (recording,) = read(root)
        assert recording.channels == ("HR", "RESP")
        assert np.isnan(recording.values[0, 10:]).all()
        np.testing.assert_array_equal(recording.values[1, 20:], ramp(5)[0] + 50)
        (one,) = read(root, ("HR",))
        np.testing.assert_array_equal(one.values[0], recording.values[0])

    def test_a_unit_that_changes_is_refused(self, root):
        write(root, "a_2", ramp(5), units=("bpm", "mV"))
        with pytest.raises(DataError, match=r"'RESP' in .*a_2.hea is in mV .* it was in pm"):
            read(root)

    @pytest.mark.parametrize(
        ("old", "new"), [("a_2 5", "a_2 6"), ("a/3 2 1 25", "a/3 2 2 25"), ("a_2", "a_9")]
    )
    def test_a_master_header_that_disagrees_is_refused(self, root, old, new):
        rewrite(root / "a.hea", old, new)
        with pytest.raises(DataError, match=r"a_[129]\.hea"):
            read(root / "a")

    def test_fewer_segments_than_announced_are_refused_with_both_numbers(self, root):
        rewrite(root / "a.hea", "a/3", "a/4")
        with pytest.raises(DataError, match=r"a\.hea announces 4 and has 3"):
            read(root)

    def test_segments_that_do_not_add_up_are_refused_with_both_numbers(self, root):
        rewrite(root / "a.hea", "2 1 25", "2 1 26")
        with pytest.raises(DataError, match=r"a\.hea announces 26, its 3 segments have 25"):
            read(root)

    def test_segments_of_segments_are_refused(self, root):
        rewrite(root / "a.hea", "a_2 5", "a 5")
        with pytest.raises(DataError, match=r"no segments of its own: .*a\.hea, .* has 3"):
            read(root / "a")


class TestBrokenFiles:
    @pytest.mark.parametrize("fmt", ["16", "24", "32", "80", "212"])
    @pytest.mark.parametrize("lost", [1, 7])
    def test_a_truncated_signal_file_is_refused(self, tmp_path, fmt, lost):
        write(tmp_path, "a", ramp(31), fmt=fmt)
        assert read(tmp_path)[0].samples == 31
        signal = tmp_path / "a.dat"
        whole = signal.read_bytes()
        signal.write_bytes(whole[:-lost])
        with pytest.raises(DataError, match=rf"a\.dat has {len(whole) - lost} bytes.*31 frames"):
            read(tmp_path)

    def test_an_altered_signal_is_refused_unless_checksums_are_off(self, tmp_path):
        write(tmp_path, "a", ramp())
        signal = tmp_path / "a.dat"
        altered = bytearray(signal.read_bytes())
        altered[8] ^= 4
        signal.write_bytes(altered)
        with pytest.raises(DataError, match=r"'HR' of .*a\.hea does not, .*verify_checksums"):
            read(tmp_path)
        assert read(tmp_path, ("RESP",))[0].channels == ("RESP",)
        assert read(tmp_path, verify_checksums=False)[0].values[0, 2] == ramp()[0, 2] ^ 4

    def test_a_missing_signal_file_is_named(self, tmp_path):
        write(tmp_path, "a", ramp())
        (tmp_path / "a.dat").unlink()
        with pytest.raises(DataError, match=r"a\.dat does not, and .*a\.hea needs it"):
            read(tmp_path)

    def test_a_missing_header_is_named(self, tmp_path):
        write(tmp_path, "a", ramp()).unlink()
        with pytest.raises(DataError, match=r"a\.hea does not exist beside a\.dat"):
            read(tmp_path / "a.dat")

    def test_a_folder_without_records_is_refused(self, tmp_path):
        (tmp_path / "notes.txt").write_text("no records")
        (tmp_path / "only_annotations.hea").write_text("only_annotations 0 360 1000\n")
        with pytest.raises(DataError, match=r"has none among its 2 files"):
            read(tmp_path)

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"\x00\xff\xfe/garbage\n/a/b\n",
            b"a 2 1 30\n",
            b"a 2 1 30\na.dat 16 1/bpm 16 0 0 0 0 HR\n",
            b"a 2 1 30\na.dat 99 1/bpm 16 0 0 0 0 HR\na.dat 99 1/pm 16 0 0 0 0 RESP\n",
            b"a 2 0 30\na.dat 16 1/bpm 16 0 0 0 0 HR\na.dat 16 1/pm 16 0 0 0 0 RESP\n",
            b"a 2 1 30 00:00:00 31/02/2000\na.dat 16 1/bpm\na.dat 16 1/pm\n",
            b"a/2 2 1 30\na 15\na 15\n",
        ],
    )
    def test_a_broken_header_is_refused(self, tmp_path, header):
        write(tmp_path, "a", ramp()).write_bytes(header)
        with pytest.raises(DataError, match=r"a\.hea|has none among"):
            read(tmp_path)

    @given(noise=st.binary(max_size=200))
    @example(noise=b"\x00" * 8 + b"\\")  # a file's name that ends like a folder's
    @settings(deadline=None, max_examples=50)
    def test_no_header_leaves_as_a_library_error(self, tmp_path_factory, noise):
        folder = tmp_path_factory.mktemp("noise")
        header = write(folder, "a", ramp())
        header.write_bytes(header.read_bytes()[: len(noise)] + noise)
        try:
            recordings = read(folder)
        except DataError as error:
            message = str(error)
        else:
            message = "" if recordings else "nothing"
        assert not message or str(folder) in message


def annotate(folder, name, samples, symbols, **fields):
    wfdb.wrann(name, "atr", np.array(samples), list(symbols), write_dir=str(folder), **fields)


def test_annotations_are_marks_at_their_samples(tmp_path):
    write(tmp_path, "a", ramp(3000), fs=360)
    annotate(tmp_path, "a", [5, 700, 701, 2999], "NAVN")
    (recording,) = read(tmp_path, annotations="atr")
    assert [span.label for span in recording.spans] == ["N", "A", "V", "N"]
    assert all(span.start_s == span.stop_s for span in recording.spans)
    assert [span.start_s * 360 for span in recording.spans] == pytest.approx([5, 700, 701, 2999])
    assert read(tmp_path)[0].spans == ()


def test_annotation_files_in_capitals_are_read(tmp_path):
    write(tmp_path, "a", ramp(300), fs=100)
    annotate(tmp_path, "a", [50], "N")
    (tmp_path / "a.atr").rename(tmp_path / "A.ATR")
    assert [span.start_s for span in read(tmp_path, annotations="atr")[0].spans] == [0.5]


def test_annotations_may_have_a_clock_of_their_own(tmp_path):
    write(tmp_path, "a", ramp(300), fs=100)
    annotate(tmp_path, "a", [50, 2000], "NN", fs=1000)
    (recording,) = read(tmp_path, annotations="atr")
    assert [span.start_s for span in recording.spans] == [0.05, 2.0]


def test_annotations_that_are_missing_or_broken_are_named(tmp_path):
    write(tmp_path, "a", ramp())
    with pytest.raises(DataError, match=r"a\.atr does not exist, beside its header are: dat, hea"):
        read(tmp_path, annotations="atr")
    (tmp_path / "a.atr").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.hea and its .* must be a valid WFDB record"):
        read(tmp_path, annotations="atr")


def test_a_gap_of_a_year_between_segments_is_kept_at_one_a_minute_and_refused_at_125_hz(tmp_path):
    write(tmp_path, "a", ramp())
    year_s = 365 * 24 * 3600
    header = tmp_path / "joined.hea"
    minutes = year_s // 60
    rewrite(tmp_path / "a.hea", "a 2 1 30", f"a 2 {1 / 60:.12f} 30")
    header.write_text(f"joined/3 2 {1 / 60:.12f} {60 + minutes}\na 30\n~ {minutes}\na 30\n")
    (found,) = read(tmp_path)
    assert found.samples == 60 + minutes
    assert np.isnan(found.values[:, 30:-30]).all()
    frames = year_s * 125
    header.write_text(f"joined/3 2 125 {60 + frames}\na 30\n~ {frames}\na 30\n")
    with pytest.raises(DataError, match=r"joined\.hea has 3942000000 of them, 365 days"):
        read(header)
