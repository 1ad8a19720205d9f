"""`init`: from a path to a recipe that runs, or a message of one screen."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsfm_adapt.cli.init import _short
from tsfm_adapt.recipe.files import load

RECIPE, DATA, ENVIRONMENT = 2, 3, 4


def test_a_proposed_recipe_trains_without_an_edit(cli: Callable[..., Any], table: Path) -> None:
    outcome = cli("init", table, "--quiet", "--no-trial")
    assert outcome.code == 0, outcome.err
    assert "csv" in outcome.out
    assert "looked at 8 of 8 recordings; 8 subjects" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("recipe: recipe.yaml")
    assert Path("recipe.png").read_bytes().startswith(b"\x89PNG")
    recipe = load(Path("recipe.yaml"))
    assert recipe.data.reader.root == "vitals.csv"
    assert list(recipe.data.channels) == ["HR", "RESP"]
    assert recipe.data.cleaning.ranges == {"HR": (10, 350), "RESP": (1, 150)}
    trained = cli("train", "recipe.yaml", "--smoke", "--quiet")
    assert trained.code == 0, trained.err


def test_every_value_has_its_reason_beside_it(cli: Callable[..., Any], table: Path) -> None:
    assert cli("init", table, "--quiet", "--no-trial").code == 0
    lines = Path("recipe.yaml").read_text().splitlines()
    for key in ("rate_hz:", "HR:", "split:", "context_s:", "horizon_s:", "name: forecast"):
        said = [line for line in lines if line.strip().startswith(key)]
        assert said, key
        assert all("  # " in line for line in said), said
    head = lines[:4]
    assert head[0].startswith("# The next ")
    assert "tsfm-adapt train recipe.yaml" in head[1]


def test_json_is_one_document(cli: Callable[..., Any], table: Path) -> None:
    outcome = cli("init", table, "--json", "--out", "own.yaml", "--plot", "seen.png", "--no-trial")
    found = json.loads(outcome.out)
    assert found["recordings"]["subjects"] == 8
    assert found["channels"]["RESP"]["measured"] < found["channels"]["HR"]["measured"] == 960
    assert found["reader"]["name"] == "csv"
    assert (found["recipe"], found["plot"]) == ("own.yaml", "seen.png")
    assert found["trial"] is None
    assert Path("own.yaml").is_file()
    assert Path("seen.png").is_file()


@pytest.mark.parametrize("task", ["impute", "forecast"])
def test_the_task_can_be_chosen(cli: Callable[..., Any], table: Path, task: str) -> None:
    assert cli("init", table, "--task", task, "--quiet", "--no-trial").code == 0
    assert load(Path("recipe.yaml")).task.name == task


def test_nothing_is_overwritten_unless_asked(cli: Callable[..., Any], table: Path) -> None:
    Path("recipe.yaml").write_text("mine")
    outcome = cli("init", table, "--quiet", "--no-trial")
    assert outcome.code == RECIPE
    assert "'recipe.yaml' exists" in outcome.err
    assert Path("recipe.yaml").read_text() == "mine"
    assert not Path("recipe.png").exists()
    assert cli("init", table, "--quiet", "--force", "--no-trial").code == 0
    assert load(Path("recipe.yaml")).name == "vitals"


def zero_bytes(path: Path) -> Path:
    path.touch()
    return path


def endless_line(path: Path) -> Path:
    with path.open("w") as file:
        file.write("time,HR")
        file.truncate(1 << 31)  # sparse: takes no space
    return path


def endless_cells(path: Path) -> Path:
    path.write_text("time,HR\n" + "1," * 2_000_000)
    return path


def unknown(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 100)
    return path


def loop(path: Path) -> Path:
    path.mkdir()
    (path / "again").symlink_to(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def header_only(path: Path) -> Path:
    path.write_text("time,HR\n")
    return path


def constant(path: Path) -> Path:
    path.write_text("time,HR\n" + "".join(f"{t},70\n" for t in range(100)))
    return path


def too_short(path: Path) -> Path:
    path.write_text("time,HR\n" + "".join(f"{t},{70 + t}\n" for t in range(12)))
    return path


def not_numbers_later(path: Path) -> Path:
    rows = "".join(f"{t},{70 + t % 9}\n" for t in range(900))
    path.write_text(f"time,HR\n{rows}900,7o\n")
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path, "does not exist"),
        (zero_bytes, "0 bytes"),
        (folder, "has none"),
        (loop, "has none"),
        (unknown, "must be text"),
        (endless_line, "must be text"),
        (endless_cells, "column of numbers"),
        (header_only, "column of numbers"),
        (constant, "always 70"),
        (too_short, "has 12 samples"),
        (not_numbers_later, "found '7o'"),
    ],
)
def test_bad_input_ends_in_a_message(
    cli: Callable[..., Any], tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    outcome = cli("init", make(tmp_path / "ward.csv"), "--quiet")
    assert outcome.code == DATA, outcome.err
    assert said in outcome.err
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) < 10
    assert not Path("recipe.yaml").exists()
    assert not Path("recipe.png").exists()


def test_an_outcome_that_is_not_there_cannot_be_learned(
    cli: Callable[..., Any], table: Path
) -> None:
    outcome = cli("init", table, "--task", "classify", "--quiet")
    assert outcome.code == DATA
    assert "need a label" in outcome.err


def test_a_folder_that_cannot_be_written_is_named(cli: Callable[..., Any], table: Path) -> None:
    Path("file").write_text("")
    outcome = cli("init", table, "--out", "file/recipe.yaml", "--quiet")
    assert outcome.code == ENVIRONMENT
    assert "cannot write" in outcome.err
    outcome = cli("init", table, "--out", ".", "--quiet", "--force")
    assert outcome.code == RECIPE
    assert "is a folder" in outcome.err


def test_a_path_that_is_not_text_is_refused(cli: Callable[..., Any], table: Path) -> None:
    strange = os.fsdecode(b"w\xffard.csv")
    try:
        table.rename(table.parent / strange)
    except OSError:
        pytest.skip("this file system has no such names")
    outcome = cli("init", strange, "--quiet")
    assert outcome.code == DATA
    assert "UTF-8" in outcome.err


def test_names_from_files_stay_on_one_line() -> None:
    assert _short("a\nb\x1b[31m\u2028") == "a?b?[31m?"


def test_a_trial_is_shown_written_and_leaves_a_recipe_that_trains(
    cli: Callable[..., Any], table: Path
) -> None:
    outcome = cli("init", table)
    assert outcome.code == 0, outcome.err
    shown = [line for line in outcome.out.splitlines() if line.startswith("trial: ")]
    assert "validation windows of" in shown[0]
    assert sum("proposed" in line for line in shown[1:]) == 1
    assert sum("no network" in line for line in shown[1:]) >= 1
    assert "trial: " in outcome.err, "progress"
    written = Path("recipe.yaml").read_text()
    (chosen,) = [line.split()[1] for line in shown[1:] if line.endswith("proposed")]
    assert load(Path("recipe.yaml")).backbone.name == chosen
    assert f"# Trial: {chosen} " in written
    trained = cli("train", "recipe.yaml", "--smoke", "--quiet")
    assert trained.code == 0, trained.err
    assert cli("init", table, "--quiet", "--force").code == 0
    assert Path("recipe.yaml").read_text() == written, "nothing in it is random"
    found = json.loads(cli("init", table, "--json", "--force").out)["trial"]
    assert found["proposed"] == chosen
    assert found["scores"][chosen] == min(found["scores"][name] for name in found["networks"])


def test_without_a_trial_the_recipe_is_what_the_survey_alone_proposes(
    cli: Callable[..., Any], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tsfm_adapt.proposal import trial
    from tsfm_adapt.proposal.formats import recognised
    from tsfm_adapt.proposal.proposal import propose
    from tsfm_adapt.proposal.recipe_text import text
    from tsfm_adapt.proposal.survey import look

    monkeypatch.setattr(
        trial, "prepare", lambda *_, **__: pytest.fail("data were read for a trial")
    )
    assert cli("init", table, "--quiet", "--no-trial").code == 0
    written = Path("recipe.yaml").read_text()
    reader = recognised(table)
    assert written == text(propose(look(reader), reader), table, Path("recipe.yaml"))
    assert "# Trial: none: no network was compared with others" in written


def test_an_interrupted_trial_still_writes_a_recipe(
    cli: Callable[..., Any], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tsfm_adapt.proposal import trial

    def interrupted(recipe: Any, progress: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "prepare", interrupted)
    outcome = cli("init", table, "--quiet")
    assert outcome.code == 0, outcome.err
    assert "none came to an end (interrupted)" in outcome.out
    assert load(Path("recipe.yaml")).backbone.name == "chronos2"


def test_files_of_unknown_people_are_not_counted_as_people(
    cli: Callable[..., Any], table: Path
) -> None:
    rows = [line.partition(",") for line in table.read_text().splitlines()]
    folder = Path("files")
    folder.mkdir()
    for name in dict.fromkeys(first for first, _, _ in rows[1:]):
        own = "\n".join(rest for first, _, rest in rows if first in ("patient", name))
        (folder / f"{name}.csv").write_text(own + "\n")
    outcome = cli("init", folder, "--quiet", "--no-trial")
    assert outcome.code == 0, outcome.err
    assert "subjects: unknown (8 if each file is one)" in outcome.out
    assert "data.reader.subject" in outcome.out
    assert "    # subject: ..." in Path("recipe.yaml").read_text()
    asked = [ln for ln in outcome.out.splitlines() if ln.startswith("who was recorded? --reader ")]
    settings = shlex.split(asked[0])[-1]
    assert "name: csv, layout: wide" in settings
    assert "subject: WHO" in settings
    checked = cli("check", "recipe.yaml")
    assert "leakage audit: subjects: not checked" in checked.out
    assert "no subject" not in checked.out


def test_the_question_who_was_recorded_is_answered_by_the_option_that_is_printed(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for file in range(8):
        rows = (f"{60 * t},{70 + (t * (file + 3)) % 17},bed{file // 2}" for t in range(300))
        (folder / f"f{file}.csv").write_text("\n".join(["time,HR,place", *rows]) + "\n")
    outcome = cli("init", folder, "--quiet", "--no-trial")
    assert "subjects: unknown (8 if each file is one)" in outcome.out, outcome.err
    (asked, *_) = [line for line in outcome.out.splitlines() if line.startswith("who was")]
    option, settings = shlex.split(asked)[-2:]
    answer = settings.replace("subject: WHO", "subject: place")
    outcome = cli("init", folder, "--quiet", "--no-trial", "--force", option, answer)
    assert outcome.code == 0, outcome.err
    assert "4 subjects" in outcome.out
    assert "who was recorded" not in outcome.out
