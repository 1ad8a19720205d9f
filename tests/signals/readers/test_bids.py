"""Physiological recordings of BIDS."""

import numpy as np
import pytest

from contracts.bids_files import SIDECAR, write
from contracts.reader import ReaderContract
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.signals.readers.bids import Config

ECG = {"SamplingFrequency": 4, "StartTime": 0, "Columns": ["ecg"], "ecg": {"Units": "mV"}}
RESP = {"SamplingFrequency": 1, "StartTime": 0, "Columns": ["resp"], "resp": {"Units": "a.u."}}


def both(folder, name="sub-01_task-rest", **changed):
    write(folder, f"{name}_recording-cardiac", ECG, "1\n2\n3\n4\n5\n6\n7\n8\n")
    write(folder, f"{name}_recording-respiratory", {**RESP, **changed}, "1\n2\n")


class TestBidsContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        write(tmp_path / "sub-01" / "func", "sub-01_task-rest_run-1")
        write(tmp_path / "sub-02" / "func", "sub-02_task-rest_run-1")
        return Config(root=str(tmp_path))


class TestTwoRatesContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        both(tmp_path / "sub-01")
        both(tmp_path / "sub-02", "sub-02_task-walk")
        return Config(root=str(tmp_path))


def test_a_dataset_is_recognised_and_read(tmp_path):
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")
    path = write(tmp_path / "sub-01" / "ses-2", "sub-01_ses-2_task-rest_run-1")
    for root in (tmp_path, path):
        found = recognised(root)
        assert found.name == "bids"
        (item,) = found.read(())
        assert (item.id, item.subject) == ("sub-01_ses-2_task-rest_run-1", "sub-01")
        assert (item.rate_hz, item.start) == (50.0, None)
        assert dict(zip(item.channels, item.units, strict=True)) == {
            "cardiac": "mV",
            "respiratory": "a.u.",
            "trigger": "1",
        }
        assert item.attributes == {"start_time_s": -22.5}
        np.testing.assert_array_equal(item.values[0], [0.5, np.nan, -1e-3])
        notes = {"files below the root, not read (.tsv 1)": 1} if root == tmp_path else {}
        assert item.notes == notes


def test_recordings_of_a_run_that_begin_together_are_one_stretch(tmp_path):
    both(tmp_path)
    slow, fast = Config(root=str(tmp_path)).read(())
    assert (slow.rate_hz, fast.rate_hz) == (1, 4)
    assert slow.multirate_id == fast.multirate_id == "sub-01_task-rest_recording-cardiac"
    assert slow.subject == fast.subject == "sub-01"


@pytest.mark.parametrize(
    "changed", [{"StartTime": 1}, {"SamplingFrequency": 4}, {"Columns": ["ecg"]}]
)
def test_other_recordings_of_a_run_are_records_of_their_own(tmp_path, changed):
    both(tmp_path, **changed)
    assert [item.multirate_id for item in Config(root=str(tmp_path)).read(())] == [None, None]


def test_a_sidecar_without_a_rate_stops_the_guess_with_the_reason(tmp_path):
    write(tmp_path, "sub-01_task-rest", {**SIDECAR, "SamplingFrequency": None})
    with pytest.raises(DataError, match=r"bids: The sidecar of .* states SamplingFrequency"):
        recognised(tmp_path)


def test_names_occur_once_and_have_a_subject(tmp_path):
    write(tmp_path / "a", "sub-01_task-rest")
    write(tmp_path / "b", "sub-01_task-rest")
    with pytest.raises(DataError, match="share the id 'sub-01_task-rest'"):
        list(Config(root=str(tmp_path)).read(()))
    write(tmp_path / "c", "rest")
    with pytest.raises(DataError, match="finds no subject in the record 'rest'"):
        list(Config(root=str(tmp_path / "c")).read(()))
    (item,) = Config(root=str(tmp_path / "c"), subject_pattern=None).read(())
    assert item.subject == "rest"
