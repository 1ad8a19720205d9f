"""The visible files below a folder: links once, hidden ones never, ends of names in any case."""

import os
from pathlib import Path

import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import files_below, matching, unread, visible


@pytest.fixture
def root(tmp_path):
    for name in ("s1-a.dat", "B/s2-a.DAT", "B/s1-b.dat", "B/.hidden.dat", ".git/x.dat", "n.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again").symlink_to(tmp_path / "B")
    return tmp_path


class TestVisible:
    def names(self, root, pattern="*"):
        return sorted(path.relative_to(root).as_posix() for path in visible(root, pattern))

    def test_a_folder_elsewhere_is_reached_by_its_link(self, root, tmp_path_factory):
        far = tmp_path_factory.mktemp("far")
        (far / "deep").mkdir()
        (far / "deep" / "c.dat").touch()
        (root / "link").symlink_to(far)
        (root / "link2").symlink_to(far / "deep")
        found = self.names(root, "*.dat")
        assert sum(name.endswith("c.dat") for name in found) == 1
        assert found[0].startswith("B/")  # by the folder itself, though a link leads there too

    def test_links_that_lead_back_end(self, root):
        before = self.names(root)
        (root / "B" / "self").symlink_to(root / "B")
        (root / "B" / "up").symlink_to(root)
        (root / "B" / "above").symlink_to(root.parent)
        (root / "B" / "loop").symlink_to(root / "B" / "loop")
        assert [name for name in self.names(root) if name != "B/loop"] == before

    def test_a_root_that_is_a_link_is_searched(self, root, tmp_path_factory):
        link = tmp_path_factory.mktemp("links") / "to"
        link.symlink_to(root)
        assert self.names(link) == self.names(root)

    @pytest.mark.parametrize("pattern", ["*.dat", "*.DAT", "S*.Dat", "s[12]-*"])
    def test_case_does_not_matter(self, root, pattern):
        assert self.names(root, pattern) == ["B/s1-b.dat", "B/s2-a.DAT", "s1-a.dat"]

    def test_a_folder_that_cannot_be_listed_is_named(self, root, monkeypatch):
        scandir = os.scandir

        def refuse(path):
            if str(path).endswith("B"):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"B cannot be listed: Permission denied"):
            self.names(root)


def test_files_that_are_not_read_are_counted_by_the_ends_of_their_names():
    paths = [Path(name) for name in ("a.txt", "b.TXT", "c.pdf", "README")]
    assert unread(paths) == {"files below the root, not read (.txt 2, .pdf 1, no suffix 1)": 4}
    assert unread([]) == {}
    (text,) = unread([Path(f"a.{n}") for n in range(8)])
    assert text.endswith("and 3 other kinds)")


def test_files_below_are_sorted_by_folder_and_name(root):
    names = [path.relative_to(root).as_posix() for path in files_below(root)]
    assert names == ["B/s1-b.dat", "B/s2-a.DAT", "n.txt", "s1-a.dat"]
    assert files_below(root / "n.txt") == [root / "n.txt"]
    assert matching(files_below(root), ["*.DAT", "n*"]) == files_below(root)


def test_in_order_the_folders_nearest_to_the_top_come_first(root):
    found = [path.name for path in visible(root, "*", in_order=True)]
    assert found == ["n.txt", "s1-a.dat", "s1-b.dat", "s2-a.DAT"]


def test_pipes_are_no_files_and_links_to_files_that_are_gone_are(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "to_pipe.csv").symlink_to(tmp_path / "pipe.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nothing.csv")
    (tmp_path / "real.csv").touch()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    found = ["gone.csv", "link.csv", "real.csv"]
    assert [path.name for path in files_below(tmp_path)] == found
