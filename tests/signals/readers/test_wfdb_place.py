"""Where the files of a record are looked for."""

import pytest

from contracts.wfdb_formats import write_record
from contracts.wfdb_record import read, rewrite
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._wfdb_place import Place, naming

ROWS = {"A": [1, 2, 3]}


@pytest.fixture
def header(tmp_path):
    return write_record(tmp_path / "ward", "a", ROWS, "16")


@pytest.mark.parametrize("named", ["ward/a.dat", "other\\a.dat", "x/y/a.dat", "A.DAT"])
def test_a_file_named_with_a_folder_is_found_beside_the_header(header, named):
    rewrite(header, "a.dat", named)
    assert read(header)[0].values.tolist() == [[1, 2, 3]]


def test_a_file_is_found_where_its_name_says_before_one_beside_the_header(header):
    write_record(header.parent / "deep", "a", {"A": [3, 2, 1]}, "16")
    rewrite(header, "a.dat", "deep/a.dat")
    assert Place(header).file("deep/a.dat") == header.parent / "deep" / "a.dat"
    assert read(header)[0].values.tolist() == [[3, 2, 1]]
    (header.parent / "deep" / "a.dat").unlink()
    assert Place(header).file("deep/a.dat") == header.parent / "a.dat"


def test_a_file_that_is_nowhere_is_named_with_both_places(header):
    rewrite(header, "a.dat", "deep/b.dat")
    with pytest.raises(DataError, match=r"ward/deep/b\.dat or .*ward/b\.dat does not"):
        read(header)


def test_the_record_line_may_have_a_folder_too(header):
    rewrite(header, "a 1 100", "ward/a 1 100")
    rewrite(header, "a.dat", "ward/a.dat")
    for path in (header, header.parent, header.parent.parent):
        assert read(path)[0].values.tolist() == [[1, 2, 3]]


def test_segments_may_have_a_folder(tmp_path):
    write_record(tmp_path / "parts", "x", ROWS, "16")
    write_record(tmp_path, "y", {"A": [4, 5]}, "16")
    (tmp_path / "a.hea").write_text("a/2 1 100 5\nparts/x 3\nelsewhere/y 2\n")
    (found,) = read(tmp_path)
    assert (found.id, found.values.tolist()) == ("a", [[1, 2, 3, 4, 5]])


def test_an_error_of_any_kind_names_the_record(header):
    place = Place(header)
    with (
        pytest.raises(DataError, match=r"a\.hea and its files must be a valid .*KeyError: 'x'"),
        naming(place),
    ):
        raise KeyError("x")
    with (
        pytest.raises(DataError, match=r"a\.hea .* must be readable: .*denied.*permissions"),
        naming(place),
    ):
        raise PermissionError(13, "Permission denied")
