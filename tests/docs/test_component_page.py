"""The page "A component in ten minutes", followed to the letter in a copy of the project."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from contracts.checkout import copied, run
from contracts.installed import describe

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "component.md"
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODULES = {"tsfm-adapt": ["tsfm_adapt"], "python": []}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The copy after the page, and what each of its commands printed."""
    folder = copied(tmp_path_factory.mktemp("page"))
    printed = {}
    for language, file, text in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if file == "pyproject.toml":  # of another package
            continue
        if file:
            assert (folder / file).exists() == (language == "python"), file
            (folder / file).write_text(text)
            continue
        assert language == ""
        for line in text.splitlines():
            program, *words = shlex.split(line)
            if program == "python":
                assert words.pop(0) == "-m"
            printed[line] = run(folder, *MODULES[program], *words).stdout
    return folder, printed


def test_its_commands_begin_test_list_and_train(followed):
    _, printed = followed
    assert [line.split()[:2] for line in printed] == [
        ["tsfm-adapt", "new"],
        ["python", "-m"],
        ["tsfm-adapt", "list"],
        ["tsfm-adapt", "train"],
    ]
    new, tested, listed, trained = printed.values()
    assert new.startswith("written: src/tsfm_adapt/adapters/token_shift.py\n")
    assert re.search(r"\b1\d passed", tested)
    assert "skipped" not in tested
    assert "token_shift" in listed
    assert trained.splitlines()[-1].startswith("run: runs/shift/")


def test_its_code_is_what_new_writes_with_the_marked_places_filled_in(followed):
    """Every line of the draft that is not to be replaced is on the page."""
    from tsfm_adapt.cli.new import drafts

    folder, _ = followed
    component, test = drafts("adapter", "token_shift")
    shown = (folder / component.path).read_text(encoding="utf-8").splitlines()
    kept = [
        line
        for line in component.text.splitlines()
        if line.startswith(("from", "class", "    def", "if", "    name", "    from"))
    ]
    assert len(kept) > 12
    assert [line for line in kept if not any(s.startswith(line) for s in shown)] == []
    of_test = (folder / test.path).read_text(encoding="utf-8")
    assert of_test.startswith(test.text.partition("\n\n\n#")[0])


def test_its_code_lints(followed):
    folder, _ = followed
    files = ["src/tsfm_adapt/adapters/token_shift.py", "tests/adapters/test_token_shift.py"]
    run(folder, "ruff", "check", "--no-cache", *files)
    run(folder, "ruff", "format", "--no-cache", "--check", *files)


def test_the_package_that_it_shows_adds_the_component(tmp_path):
    """The same code in a package of one's own, beside a project that does not have it."""
    blocks = FENCE.findall(PAGE.read_text(encoding="utf-8"))
    (toml,) = [text for _, file, text in blocks if file == "pyproject.toml"]
    (code,) = [text for _, file, text in blocks if file.endswith("adapters/token_shift.py")]
    (tmp_path / "our_adapters").mkdir()
    (tmp_path / "our_adapters" / "__init__.py").touch()
    (tmp_path / "our_adapters" / "token_shift.py").write_text(code)
    project = tomllib.loads(toml)["project"]
    describe(tmp_path, project["name"], project["entry-points"])
    listed = subprocess.run(
        [sys.executable, "-m", "tsfm_adapt", "list", "adapters"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"token_shift +Token shift: .*\(package our-adapters\)", listed.stdout)
