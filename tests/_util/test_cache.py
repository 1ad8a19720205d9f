"""The cache folder: where it is, what it takes up, and hashes of code."""

from pathlib import Path

import pytest

from tsfm_adapt._util.cache import cache_bytes, cache_folder, code_of


def test_the_folder_is_that_of_the_variable_or_one_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TSFM_ADAPT_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"
    for unset in ("", None):
        monkeypatch.delenv("TSFM_ADAPT_CACHE", raising=False)
        if unset is not None:
            monkeypatch.setenv("TSFM_ADAPT_CACHE", unset)
        assert cache_folder() == tmp_path / ".cache" / "tsfm-adapt"


def test_bytes_are_those_on_the_disk_and_holes_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv("TSFM_ADAPT_CACHE", str(tmp_path))
    assert cache_bytes() == cache_bytes("nowhere") == 0
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "full").write_bytes(b"x" * 100_000)
    folders = cache_bytes() - cache_bytes("features")
    assert 100_000 <= cache_bytes("features") <= 110_000
    assert 0 <= folders <= 8192
    with (tmp_path / "features" / "hole").open("wb") as file:
        file.truncate(10**9)
    assert cache_bytes("features") <= 120_000


@pytest.mark.parametrize("package", ["", "heads"])
def test_a_hash_of_code_changes_with_any_file_of_the_package(package, tmp_path, monkeypatch):
    """On a copy of the package: a changed, renamed or new file is other code."""
    import shutil

    from tsfm_adapt._util import cache

    source = Path(cache.__file__).parents[1]
    copy = tmp_path / "tsfm_adapt"
    (copy / "_util").mkdir(parents=True)
    shutil.copytree(source / "heads", copy / "heads", ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(cache, "__file__", str(copy / "_util" / "cache.py"))

    def now():
        code_of.cache_clear()
        return code_of(package)

    try:
        plain = now()
        assert now() == plain
        path = copy / "heads" / "linear.py"
        path.write_bytes(path.read_bytes() + b"#")
        changed = now()
        path.rename(copy / "heads" / "linear2.py")
        renamed = now()
        (copy / "heads" / "new.py").touch()
        assert len({plain, changed, renamed, now()}) == 4
    finally:
        code_of.cache_clear()
