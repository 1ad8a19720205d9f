"""The form of a commit's subject."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/commit_subject.py"


def called(tmp_path, message):
    written = tmp_path / "COMMIT_EDITMSG"
    written.write_text(message, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(TOOL), str(written)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "subject",
    [
        "docs: a picture of a forecast",
        "tasks/impute: windows are placed around gaps",
        "signals: " + "x" * 63,  # 72 characters
        "Merge branch 'main'",
    ],
)
def test_an_area_and_what_changed_pass(tmp_path, subject):
    done = called(tmp_path, subject + "\n\nA body may be of any length. " + "y" * 100)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("signals: " + "x" * 64, "73 characters, 72 at most"),
        ("Say what a score means", 'not of the form "area: what"'),
        ("docs:nothing between", 'not of the form "area: what"'),
        ("", 'not of the form "area: what"'),
    ],
)
def test_anything_else_is_refused_with_the_reason(tmp_path, subject, reason):
    done = called(tmp_path, subject + "\n")
    assert done.returncode == 1
    assert reason in done.stderr
