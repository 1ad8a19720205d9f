"""Where a reader's root is, and which files it looks into."""

from collections.abc import Iterator
from typing import ClassVar

import pytest
from pydantic import ValidationError

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root


class Rooted(ReaderConfig):
    """Reads nothing."""

    name: str = "rooted"
    root: str

    def read(self, channels: tuple[str, ...]) -> Iterator[None]:
        yield from ()


class Rootless(ReaderConfig):
    """Reads nothing from nowhere."""

    name: str = "rootless"
    general: ClassVar[bool] = True

    def read(self, channels: tuple[str, ...]) -> Iterator[None]:
        yield from ()


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A working directory and a folder of data."""
    here, data = tmp_path / "here", tmp_path / "data"
    for folder in (here, data / "sub"):
        folder.mkdir(parents=True)
    (data / "sub" / "x.csv").touch()
    (data / "y.csv").touch()
    monkeypatch.chdir(here)
    monkeypatch.setenv("TSFM_ADAPT_DATA", str(data))
    return here, data


def test_a_root_is_looked_for_here_and_then_below_the_data(places):
    here, data = places
    assert resolve_root("sub") == data / "sub"
    (here / "sub").mkdir()
    assert resolve_root("sub").absolute() == here / "sub"
    assert resolve_root(str(data / "y.csv")) == data / "y.csv"


@pytest.mark.parametrize("root", ["nowhere", "/nowhere/at/all"])
def test_a_root_that_is_nowhere_is_an_error_that_says_where_was_looked(places, root, monkeypatch):
    _, data = places
    with pytest.raises(DataError, match="does not exist") as with_data:
        resolve_root(root)
    assert root in str(with_data.value)
    assert (str(data) in str(with_data.value)) == (root == "nowhere")
    monkeypatch.delenv("TSFM_ADAPT_DATA")
    with pytest.raises(DataError, match="TSFM_ADAPT_DATA"):
        resolve_root(root)


def test_the_files_of_a_reader_are_those_at_its_root(places):
    _, data = places
    assert set(Rooted(root=str(data)).files()) == {data / "y.csv", data / "sub" / "x.csv"}
    assert list(Rooted(root="y.csv").files()) == [data / "y.csv"]
    assert Rootless().files() is None
    with pytest.raises(DataError, match="does not exist"):
        Rooted(root="nowhere").files()


def test_a_reader_claims_nothing_unless_it_says_so(tmp_path):
    assert Rooted.guess(tmp_path) is None
    assert not Rooted(root="x").synthetic
    assert (Rooted.general, Rootless.general) == (False, True)


def test_settings_are_fixed_and_none_is_unknown():
    with pytest.raises(ValidationError, match="frozen"):
        Rooted(root="x").root = "y"
    with pytest.raises(ValidationError, match="rooot"):
        Rooted(root="x", rooot="y")


class Told(Rootless):
    """Reads nothing; can be told who was recorded."""

    subject: str | None = None
    subject_pattern: str | None = None


class Stating(Rootless):
    """Reads nothing of a format that states the person."""

    states_subjects: ClassVar[bool] = True


def test_a_reader_knows_subjects_only_where_its_format_or_a_setting_states_them():
    assert not Rootless().names_subjects, "of another package's reader nothing is known"
    assert Rootless().subject_settings == ()
    assert not Told().names_subjects
    assert Told().subject_settings == ("subject", "subject_pattern")
    assert Told(subject="patient").names_subjects
    assert Told(subject_pattern="(p.)").names_subjects
    assert Stating().names_subjects
