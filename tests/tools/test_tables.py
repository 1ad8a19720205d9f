"""The tables of the pages are those of the components' files."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.refused import REASONS, REFUSED
from tsfm_adapt.components import PACKAGES, built_in

ROOT = Path(__file__).parents[2]
COMMAND = ROOT / "tools" / "tables.py"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", COMMAND)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_has_the_tables_of_today(tables):
    outdated = [
        str(page.relative_to(ROOT))
        for page, text in tables.filled()
        if page.read_text(encoding="utf-8") != text
    ]
    assert outdated == [], "run python tools/tables.py --write"


def test_some_page_shows_every_kind_and_the_grid(tables):
    text = (ROOT / "docs/reference/components.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(tables.TABLES) - {"kinds"}


def test_every_component_has_a_row(tables):
    shown = {"backbone": tables.backbones(), "head": tables.heads()}
    shown |= {kind: tables.plain(kind)() for kind in ("adapter", "task", "reader")}
    for kind in PACKAGES:
        assert re.findall(r"^\| `(\w+)` \|", shown[kind], re.MULTILINE) == list(built_in(kind))
    assert re.findall(r"^\| `(\w+)` \|", tables.grid(), re.MULTILINE) == list(built_in("adapter"))


def test_a_pair_that_is_refused_has_a_note(tables):
    table = tables.grid()
    assert table.count("no (") == len(REFUSED)
    assert {*REFUSED.values()} == {*REASONS}
    assert all(reason in table for reason in REASONS.values())
    for backbone, adapter in REFUSED:
        assert backbone in built_in("backbone")
        assert adapter in built_in("adapter")


def test_a_region_is_filled_whatever_it_holds_and_the_rest_is_left_alone(tables):
    region = "<!-- table: tasks -->\n{}<!-- /table -->\n"
    page = f"a\n\n{region.format('old')}\nb\n{region.format('')}"
    once = tables.fill(page, Path("p.md"))
    assert once.count("| `forecast` |") == 2
    assert "old" not in once
    assert once.startswith("a\n\n<!-- table: tasks -->\n")
    assert "\n\nb\n<!--" in once
    assert tables.fill(once, Path("p.md")) == once


def test_a_table_that_does_not_exist_is_named(tables):
    with pytest.raises(SystemExit, match=r"no table 'adaptors'.*adapters"):
        tables.fill("<!-- table: adaptors -->\n<!-- /table -->", Path("p.md"))


def test_check_exits_1_where_a_page_is_out_of_date(tmp_path):
    copy = tmp_path / "tools" / "tables.py"
    copy.parent.mkdir()
    copy.write_text(COMMAND.read_text(encoding="utf-8"))
    (tmp_path / "README.md").write_text("<!-- table: tasks -->\n<!-- /table -->\n")
    for name in ("src", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    run = lambda how: subprocess.run(  # noqa: E731
        [sys.executable, str(copy), how], capture_output=True, text=True
    )
    refused = run("--check")
    assert (refused.returncode, refused.stdout) == (1, "out of date: README.md\n")
    assert run("--write").returncode == 0
    assert run("--check").returncode == 0
