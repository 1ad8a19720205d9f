"""The report of a comparison: a page that needs nothing else, and its tables."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tsfm_adapt.comparison import cells as comparison
from tsfm_adapt.comparison import report


@pytest.fixture(scope="module")
def page(recipe, ranked, tmp_path_factory):
    test = comparison.test_windows(recipe, smoke=False)
    return report.write(tmp_path_factory.mktemp("report"), ranked, test, "tsfm-adapt compare <x>")


def test_the_report_needs_nothing_else_and_escapes_what_comes_from_outside(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)\s*=\s*.(?!data:)", text)
    assert "@import" not in text
    assert "<script" not in text
    assert "&lt;b&gt;broken" in text
    assert "<b>broken" not in text
    assert "SYNTHETIC" in text
    assert "Leakage audit: no subject" in text
    assert text.count("data:image/png") >= 6


def test_csv_and_json_hold_every_row(page, ranked):
    with (page.parent / "comparison.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((page.parent / "comparison.json").read_text(encoding="utf-8"))
    names = [row.name for row in ranked.rows]
    assert [row["model"] for row in rows] == [row["name"] for row in content["rows"]] == names
    for row, of in zip(rows, ranked.rows, strict=True):
        if of.scores:
            assert float(row["mase"]) == pytest.approx(of.overall["mase"])
        else:
            assert row["failure"] == of.failure


def test_the_report_opens_in_a_browser(page):
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium and no google-chrome on the PATH")
    profile = f"--user-data-dir={page.parent / 'profile'}"
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", profile]
    done = subprocess.run(
        [browser, *quiet, "--enable-logging=stderr", "--dump-dom", Path(page).as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Models, best first" in done.stdout
    assert done.stdout.count("<img") >= 6
    assert "CONSOLE" not in done.stderr
