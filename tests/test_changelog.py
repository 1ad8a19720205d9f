"""CHANGELOG.md and the fragments that wait for the next version."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import tsfm_adapt

ROOT = Path(__file__).parents[1]
FRAGMENTS = sorted(p for p in (ROOT / "changelog").iterdir() if not p.name.startswith("template"))
KINDS = ("breaking", "added", "changed", "fixed")

renders = pytest.mark.skipif(
    find_spec("towncrier") is None, reason="needs the extra dev: pip install 'tsfm-adapt[dev]'"
)


def rendered(folder, *options):
    return subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--version", "9.8.7", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_fragment_is_named_by_issue_and_kind_and_brings_its_bullets():
    for fragment in FRAGMENTS:
        assert re.fullmatch(rf"\d+\.({'|'.join(KINDS)})\.md", fragment.name), fragment.name
        lines = fragment.read_text(encoding="utf-8").splitlines()
        assert lines, fragment.name
        assert [line for line in lines if not line.startswith(("- ", "  "))] == [], fragment.name


def test_the_newest_section_is_of_this_version_or_fragments_wait_for_it():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", text, re.MULTILINE)
    assert versions
    assert versions[0] == tsfm_adapt.__version__ or FRAGMENTS


@renders
def test_the_next_section_has_every_waiting_line():
    done = rendered(ROOT, "--draft")
    assert done.returncode == 0, done.stdout + done.stderr
    for fragment in FRAGMENTS:
        for line in fragment.read_text(encoding="utf-8").splitlines():
            assert line in done.stdout


@renders
def test_a_release_puts_its_section_above_the_older_ones_and_takes_the_fragments(tmp_path):
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "changelog").mkdir()
    shutil.copy(ROOT / "changelog/template.md.jinja", tmp_path / "changelog")
    (tmp_path / "changelog/41.added.md").write_text("- One thing.\n- Another.\n")
    (tmp_path / "changelog/42.breaking.md").write_text("- `old` is now `new`.\n")
    before = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")

    done = rendered(tmp_path, "--yes", "--date", "2030-01-02")

    assert done.returncode == 0, done.stdout + done.stderr
    after = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    head, newest, older = before.partition("<!-- towncrier: the newest version stands below -->\n")
    section = (
        "\n## 9.8.7 (2030-01-02)\n\n### Breaking\n\n- `old` is now `new`.\n\n"
        "### Added\n\n- One thing.\n- Another.\n"
    )
    assert after.startswith(head + newest + section)
    assert after.removeprefix(head + newest + section).strip() == older.strip()
    assert [p.name for p in (tmp_path / "changelog").iterdir()] == ["template.md.jinja"]
