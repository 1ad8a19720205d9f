import gzip
import socket
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.reader import ReaderContract, channel_of, stretches
from contracts.vital_file import START_S, numbers, read, vitaldb, ward, write
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import clean
from tsfm_adapt.signals.readers.vitaldb import Config
from tsfm_adapt.signals.recording import Span


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments, **fields):
        raise AssertionError("a reader must not use the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)


class TestVitalContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        write(tmp_path / "cases" / "1.vital")
        write(tmp_path / "cases" / "deep" / "2.VITAL", ward(90.0), packed=False)
        return Config(root=str(tmp_path / "cases"))


class TestVitalContractOfNumbersOnly(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        for name in ("a", "b"):
            write(tmp_path / f"{name}.vital", {n: t for n, t in ward().items() if not t[1]})
        return Config(root=str(tmp_path))


@pytest.mark.parametrize("packed", [True, False])
def test_numbers_keep_their_times_and_waves_theirs_to_the_sample(tmp_path, packed):
    events, slow, fast = read(write(tmp_path / "1.vital", packed=packed))
    assert [item.id for item in (events, slow, fast)] == ["1/readings", "1/2Hz", "1/4Hz"]
    assert {item.multirate_id for item in (events, slow, fast)} == {"1"}
    assert {item.start for item in (events, slow, fast)} == {np.datetime64(int(START_S), "s")}
    assert (events.channels, events.units) == (("Solar8000/HR", "Solar8000/BT"), ("/min", "C"))
    time_s, value = channel_of(events, "Solar8000/HR")
    np.testing.assert_array_equal(time_s, [0.25, 2.0, 2.5])
    np.testing.assert_array_equal(value, [60, 61, 62])
    assert (fast.channels, fast.units, fast.rate_hz) == (("SNUADC/ECG_II",), ("mV",), 4.0)
    ecg = np.full(26, np.nan)  # up to the last sample of the file, at 6.5 s
    ecg[2:10] = ecg[18:26] = np.arange(8)
    np.testing.assert_array_equal(fast.values[0], ecg)
    np.testing.assert_array_equal(slow.values[0, 2:12], np.arange(10))
    assert np.isnan(slow.values[0, :2]).all()


def test_the_last_reading_of_a_file_is_not_lost_in_cleaning(tmp_path):
    write(tmp_path / "1.vital", {"Solar8000/HR": (numbers([0, 3], [60, 61]), 0, "/min")})
    channels = (ChannelPlan("HR", "bpm", "HR"),)
    (recording,) = clean(read(tmp_path, ("HR",)), CleaningPlan(channels, 1.0))
    np.testing.assert_array_equal(recording.values[0], [60, np.nan, np.nan, 61])


def test_numbers_and_waves_share_one_clock_after_cleaning(tmp_path):
    write(tmp_path / "1.vital")
    channels = (ChannelPlan("HR", "bpm", "HR"), ChannelPlan("ECG", "mV", "ECG_II"))
    (recording,) = clean(read(tmp_path, ("HR", "ECG_II")), CleaningPlan(channels, 1.0))
    assert recording.id == "1"
    np.testing.assert_array_equal(recording.values[0, :3], [60, np.nan, 61.5])
    np.testing.assert_array_equal(recording.values[1, :3], [0.5, 3.5, 6.5])


def test_a_track_goes_by_its_own_name_where_that_is_the_only_one(tmp_path):
    write(tmp_path / "1.vital")
    (recording,) = read(tmp_path, ("ECG_II",))
    assert (recording.id, recording.channels, recording.multirate_id) == ("1", ("ECG_II",), None)
    tracks = ward() | {"Primus/HR": (numbers([1], [70]), 0, "/min")}
    write(tmp_path / "1.vital", tracks)
    with pytest.raises(
        DataError, match=r"'HR' is the name of 2 tracks .* Solar8000/HR, Primus/HR"
    ):
        read(tmp_path, ("HR",))
    assert read(tmp_path, ("Primus/HR",))[0].channels == ("Primus/HR",)


def test_a_name_that_ends_like_another_is_not_taken_for_it(tmp_path):
    tracks = {
        "Solar8000/PLETH_HR": (numbers([1], [70]), 0, "/min"),
        "Solar8000/HR": (numbers([1], [60]), 0, "/min"),
    }
    write(tmp_path / "1.vital", tracks)
    (events,) = read(tmp_path, ("HR",))
    assert (events.channels, events.value.tolist()) == (("HR",), [60.0])


def test_times_do_not_depend_on_the_channels_asked_for(tmp_path):
    write(tmp_path / "1.vital")
    (alone,) = read(tmp_path, ("Solar8000/BT",))
    assert alone.start == np.datetime64(int(START_S), "s")
    assert alone.time_s.tolist() == [5.0]
    assert alone.duration_s == 7.0


def test_events_of_the_recorder_are_marks(tmp_path):
    texts = [{"dt": START_S + t, "val": text} for t, text in [(1.5, "incision"), (3, " ")]]
    write(tmp_path / "1.vital", ward() | {"EVENT": (texts, 0, "")})
    for item in read(tmp_path):
        assert item.spans == (Span(1.5, 1.5, "incision"),)
        assert "EVENT" not in item.channels


class TestBadInput:
    def test_a_truncated_file_is_refused_wherever_it_ends(self, tmp_path):
        whole = write(tmp_path / "1.vital").read_bytes()
        for kept in (0, 1, 5, 40, len(whole) // 2, len(whole) - 9, len(whole) - 1):
            (tmp_path / "1.vital").write_bytes(whole[:kept])
            with pytest.raises(DataError, match=r"1\.vital must be a whole \.vital file"):
                read(tmp_path)

    def test_a_stream_that_ends_within_a_packet_is_refused(self, tmp_path):
        path = write(tmp_path / "1.vital", packed=False)
        with gzip.open(path) as file:
            stream = file.read()
        for lost in (1, 3, 9, 20):
            path.write_bytes(gzip.compress(stream[:-lost]))
            with pytest.raises(DataError, match="it ends"):
                read(tmp_path)

    @pytest.mark.parametrize(
        "content", [b"", b"time,HR\n0,60\n", gzip.compress(b"time,HR\n", mtime=0)]
    )
    def test_other_content_is_refused_and_not_recognised(self, tmp_path, content):
        (tmp_path / "1.vital").write_bytes(content)
        with pytest.raises(DataError, match=r"1\.vital must be a whole \.vital file"):
            read(tmp_path)
        assert Config.guess(tmp_path) is None

    def test_a_file_without_records_is_refused(self, tmp_path):
        file = vitaldb.VitalFile()
        file.to_vital(str(tmp_path / "1.vital"))
        with pytest.raises(DataError, match="has 0 tracks and no record"):
            read(tmp_path)

    def test_a_clock_that_was_set_is_refused(self, tmp_path):
        write(tmp_path / "1.vital", {"A/HR": (numbers([0, 3e7], [60, 61]), 0, "/min")})
        with pytest.raises(
            DataError, match=r"within 7 days: .*begin 2020-09-13T12:26:40 and last 3e"
        ):
            read(tmp_path)

    def test_files_of_one_subject_that_overlap_are_refused(self, tmp_path):
        write(tmp_path / "p1_a.vital")
        write(tmp_path / "p1_b.vital", ward(3.0))
        with pytest.raises(DataError, match=r"follow each other.*p1_a.*p1_b"):
            read(tmp_path, subject_pattern="^(p1)")
        assert len(stretches(read(tmp_path))) == 2

    def test_a_missing_unit_has_to_be_stated_by_the_recipe(self, tmp_path):
        write(tmp_path / "1.vital", {"A/HR": (numbers([0, 1], [60, 61]), 0, "")})
        with pytest.raises(DataError, match=r"data\.channels\.HR of 1: .*not stated"):
            clean(read(tmp_path, ("HR",)), CleaningPlan((ChannelPlan("HR", "bpm", "HR"),), 1.0))

    def test_links_are_not_followed_and_an_empty_folder_is_refused(self, tmp_path):
        (tmp_path / "up").symlink_to(tmp_path)
        with pytest.raises(DataError, match=r"hold no visible file called '\*\.vital'"):
            read(tmp_path)
        write(tmp_path / "1.vital")
        assert set(stretches(read(tmp_path))) == {"1"}

    def test_a_file_that_the_system_refuses_is_named(self, tmp_path, monkeypatch):
        path = write(tmp_path / "1.vital")

        def refuse(*arguments):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(gzip, "open", refuse)
        with pytest.raises(DataError, match=r"1\.vital must be a readable file: Permission"):
            read(path)

    @given(noise=st.binary(min_size=1, max_size=40), at=st.integers(0, 500))
    @settings(deadline=None, max_examples=60)
    def test_no_stream_leaves_as_a_library_error_or_on_the_screen(
        self, tmp_path_factory, noise, at
    ):
        path = write(tmp_path_factory.mktemp("noise") / "1.vital", packed=False)
        with gzip.open(path) as file:
            stream = bytearray(file.read())
        stream[at : at + len(noise)] = noise
        path.write_bytes(gzip.compress(bytes(stream)))
        try:
            items = read(path)
        except DataError as error:
            message = str(error)
        else:
            message = "" if items else "nothing"
        assert not message or str(path) in message or "data.channels" in message


def test_vital_files_are_recognised_by_their_beginning(tmp_path):
    write(tmp_path / "a" / "1.vital")
    assert Config.guess(tmp_path) == Config(root=str(tmp_path))
    assert Config.guess(tmp_path / "a" / "1.vital") is not None
    assert Config.guess(Path(__file__)) is None


def test_files_that_are_not_read_are_noted_once(tmp_path):
    write(tmp_path / "1.vital")
    write(tmp_path / "2.vital")
    (tmp_path / "notes.txt").write_text("nothing")
    first, *others = read(tmp_path)
    assert first.notes == {"files below the root, not read (.txt 1)": 1}
    assert len(others) == 5
    assert all(item.notes == {} for item in others)
