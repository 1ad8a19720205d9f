"""Names, sidecars and samples of BIDS."""

import gzip
import json
from collections import Counter

import numpy as np
import pytest

from contracts.bids_files import ROWS, SIDECAR, write
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._bids_files import Name, identity, with_sidecars


def physio(path):
    (found,) = with_sidecars([path], path)
    return found


def test_a_name_has_entities_and_a_suffix(tmp_path):
    name = Name.of("sub-01_ses-a_task-rest_recording-ecg_physio.tsv.gz")
    assert dict(name.entities) == {"sub": "01", "ses": "a", "task": "rest", "recording": "ecg"}
    assert name.suffix == "physio"
    assert ("recording", "ecg") not in name.without("recording")
    assert len(name.without("recording")) == 3
    assert identity(tmp_path / "sub-01_task-rest_physio.tsv.gz") == "sub-01_task-rest"
    assert identity(tmp_path / "physio.tsv") == "physio"


def test_what_sidecars_state_is_read(tmp_path):
    found = physio(write(tmp_path, "sub-01_task-rest"))
    assert (found.rate_hz, found.start_s) == (50.0, -22.5)
    assert [found.unit(name) for name in found.columns] == ["mV", "a.u.", "1"]
    expected = [[0.5, np.nan, -1e-3], [10, 11, 12], [0, 1, 0]]
    np.testing.assert_array_equal(found.values(Counter()), expected)


def test_a_nearer_sidecar_goes_before_those_above_and_others_do_not_apply(tmp_path):
    (tmp_path / "dataset_description.json").write_text("{}")
    for name, rate in (("task-rest", 10), ("task-walk", 20), ("sub-02", 30)):
        own = {**SIDECAR, "SamplingFrequency": rate}
        (tmp_path / f"{name}_physio.json").write_text(json.dumps(own))
    (tmp_path / "task-rest_bold.json").write_text('{"SamplingFrequency": 40}')
    folder = tmp_path / "sub-01" / "func"
    path = write(folder, "sub-01_task-rest", None)
    assert physio(path).rate_hz == 10
    near = folder / "sub-01_task-rest_physio.json"
    near.write_text('{"SamplingFrequency": 60}')
    found = physio(path)
    assert found.sidecars == (tmp_path / "task-rest_physio.json", near)
    assert (found.rate_hz, len(found.columns)) == (60, 3)
    (tmp_path / "dataset_description.json").unlink()
    assert physio(path).sidecars == (near,)


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        (None, r"SamplingFrequency, in Hz: looked at no file like sub-01_physio\.json"),
        ({**SIDECAR, "SamplingFrequency": "n/a"}, r"SamplingFrequency, in Hz: looked at .*json"),
        ({**SIDECAR, "SamplingFrequency": 0}, "SamplingFrequency"),
        ({**SIDECAR, "Columns": []}, "Columns, a list of names"),
        ({**SIDECAR, "Columns": ["a", "a"]}, "distinct names, not a, a"),
        ([SIDECAR], "A sidecar holds one object"),
    ],
)
def test_what_a_sidecar_lacks_is_named(tmp_path, sidecar, message):
    with pytest.raises(DataError, match=message):
        physio(write(tmp_path, "sub-01", sidecar)).check()


def test_a_sidecar_that_is_no_json_is_named(tmp_path):
    path = write(tmp_path, "sub-01")
    (tmp_path / "sub-01_physio.json").write_text("{")
    with pytest.raises(DataError, match=r"sub-01_physio\.json: Expecting"):
        physio(path).check()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1\t2\t3\n1\t2\n", r"cardiac, respiratory, trigger: .*row 2, has 2"),
        ("1\t2\t3\n\n1\t2\t3\n", "row 2, has 1"),
        ("1\t2\t3\n1\tx\t3\n", "row 2, column 'respiratory': expected a number or n/a, found 'x'"),
        ("1\t2\t3\n1\t2\t\n", "row 2, column 'trigger': .*found ''"),
        ("1\tinf\t3\n", "row 1, column 'respiratory'"),
        ("cardiac\trespiratory\ttrigger\n1\t2\tx\n", "row 2, column 'trigger'"),
        ("cardiac\trespiratory\ttrigger\n", "must hold samples; it is empty"),
        ("", "must hold samples; it is empty"),
    ],
)
def test_a_cell_that_is_no_number_is_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        physio(write(tmp_path, "sub-01", rows=rows)).values(Counter())


def test_a_row_of_names_is_skipped_with_a_note_and_an_open_file_is_read(tmp_path):
    path = write(tmp_path, "sub-01", rows="cardiac\trespiratory\ttrigger\n" + ROWS)
    plain = tmp_path / "sub-01_physio.tsv"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    notes = Counter()
    assert physio(plain).values(notes).shape == (3, 3)
    assert notes == {"rows that repeat the header, skipped": 1}
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match="must be a table of tabs"):
        physio(path).values(notes)
