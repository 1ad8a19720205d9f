"""Which files are records, whose they are, and whether they can be true together."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._files import (
    FilesConfig,
    FileTimes,
    distinct,
    first_noted,
    group_in,
    refuse_overlaps,
)
from tsfm_adapt.signals.recording import Recording


class Files(FilesConfig):
    """Reads nothing."""

    name: str = "files"
    pattern: str = "*.dat"

    def read(self, channels: tuple[str, ...]) -> Iterator[None]:
        yield from ()


@pytest.fixture
def root(tmp_path):
    for name in ("s1-a.dat", "B/s2-a.DAT", "B/s1-b.dat", "B/.hidden.dat", ".git/x.dat", "n.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again").symlink_to(tmp_path / "B")
    return tmp_path


def test_records_are_the_visible_files_below_the_root_by_their_paths(root):
    found = Files(root=str(root)).find()
    assert list(found) == ["B/s1-b", "B/s2-a", "s1-a"]
    assert Files(root=str(root / "n.txt")).find() == {"n": root / "n.txt"}
    assert set(Files(root=str(root)).files()) == set(found.values())


def test_other_visible_files_are_listed_too(root):
    assert Files(root=str(root)).listed().others == (root / "n.txt",)
    assert Files(root=str(root / "s1-a.dat")).listed().others == ()


def test_the_first_of_some_recordings_has_the_notes_of_all():
    one = Recording("a", "a", np.zeros((1, 2)), ("A",), ("mV",), 1.0, notes={"x": 1})
    first, second = first_noted([one, one], {"y": 2})
    assert (first.notes, second.notes) == ({"x": 1, "y": 2}, {"x": 1})
    assert list(first_noted([], {"y": 2})) == []


def test_no_file_and_two_of_one_name_are_refused(root):
    with pytest.raises(DataError, match=r"\*\.none"):
        Files(root=str(root), pattern="*.none").find()
    (root / "s1-a.txt").touch()
    with pytest.raises(DataError, match="share an id"):
        Files(root=str(root), pattern="s1-a.*").find()


@pytest.mark.parametrize("name", ["s1-a", "s1-a.dat"])
def test_records_are_named_by_id_or_file(root, name):
    config = Files(root=str(root), records=(name,))
    assert list(config.picked(config.find())) == ["s1-a"]


@pytest.mark.parametrize(("name", "count"), [("s9", 0), ("x", 2)])
def test_a_name_of_no_record_or_of_several_is_refused(root, name, count):
    for folder in ("one", "two"):
        (root / folder).mkdir()
        (root / folder / "x.dat").touch()
    config = Files(root=str(root), records=(name,))
    with pytest.raises(DataError, match=rf"'{name}' names {count} of the 5"):
        config.picked(config.find())


def test_a_subject_is_the_group_of_the_pattern_in_the_id():
    config = Files(root=".", subject_pattern=r"(s\d+)-")
    assert config.subject_of("B/s12-a") == "s12"
    assert Files(root=".").subject_of("B/s12-a") == "B/s12-a"
    with pytest.raises(DataError, match="finds no subject"):
        config.subject_of("B/x")
    assert group_in("x(.)", "abc") is None


@pytest.mark.parametrize("pattern", ["s1", "(a)(b)", "(", ""])
def test_a_pattern_without_exactly_one_group_is_refused(pattern):
    with pytest.raises(ValidationError, match="subject_pattern"):
        Files(root=".", subject_pattern=pattern)


def test_every_channel_has_a_name_of_its_own():
    assert distinct(["ECG", "", "ECG", "II", "ECG"]) == ["ECG", "signal 1", "ECG#2", "II", "ECG#3"]


def stretch(name, start, duration_s=60.0, subject="p"):
    return FileTimes(Path(name), subject, np.datetime64(start, "s"), duration_s)


def test_stretches_that_follow_each_other_or_state_one_start_are_let_through():
    refuse_overlaps([stretch("b", 60), stretch("a", 0), stretch("c", 119)])  # whole seconds
    refuse_overlaps([stretch("a", 0), stretch("b", 0)])
    refuse_overlaps([stretch("a", 0), stretch("b", 30, subject="q")])


def test_a_subject_in_two_places_at_once_is_refused_with_both_files():
    with pytest.raises(DataError, match=r"'p'.*first\.dat.*later\.dat"):
        refuse_overlaps([stretch("later.dat", 30), stretch("first.dat", 0)])
