"""The recipe that is written: it loads, and it lays out what was proposed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.proposed import walk
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.proposal.proposal import propose
from tsfm_adapt.proposal.recipe_text import portable, text
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import prepare

# Names that would break out of a line, a comment or a YAML string.
_AWKWARD = [
    "a: b",
    "# no",
    "x\ny: 1",
    "yes",
    "1",
    "é µV",
    "'\"",
    "%",
    "- a",
    "{a}",
    "\u2028",
    "🫀",
]


@pytest.fixture(scope="module")
def of_two_channels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    rows = "".join(f"a,{t},{hr:.2f},{k:.2f}\n" for t, (hr, k) in enumerate(
        zip(walk(400), walk(400, 1), strict=True)))  # fmt: skip
    (folder / "t.csv").write_text("id,time,HR,K\n" + rows)
    reader = recognised(folder)
    return propose(look(reader), reader)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(_AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(_AWKWARD),
)
def test_any_name_and_unit_of_a_channel_survives_into_the_recipe(of_two_channels, name, other):
    first, second = of_two_channels.channels
    lines = (replace(first, name=name, unit=other), replace(second, name="plain", why=other))
    if name == "plain":
        return
    written = text(replace(of_two_channels, channels=lines), Path(name), Path(other))
    recipe = loads(written)
    assert tuple(recipe.data.channels) == (name, "plain")
    assert recipe.data.channels[name].unit == other
    assert list(recipe.data.cleaning.ranges) == [name]


def test_a_written_recipe_lays_out_the_windows_that_were_proposed(tmp_path):
    rows = [
        f"p{p},{60 * t},{heart:.1f},{'' if t % 9 == 0 else round(97 - heart / 40, 1)}"
        for p in range(6)
        for t, heart in enumerate(walk(400, p))
    ]
    (tmp_path / "ward.csv").write_text("patient,time,HR,SpO2\n" + "\n".join(rows) + "\n")
    reader = recognised(tmp_path)
    for kind in ("forecast", "impute"):
        proposal = propose(look(reader), reader, kind)
        recipe = loads(text(proposal, tmp_path, tmp_path / "recipe.yaml"))
        parts = prepare(recipe)
        assert all(len(parts.windows[part]) for part in ("train", "val", "test"))
        window = parts.windows["train"].spec
        assert (window.context, window.horizon) == (
            proposal.window.context,
            proposal.window.horizon,
        )


def test_a_root_is_written_so_that_it_can_be_moved(tmp_path, monkeypatch):
    (tmp_path / "data" / "cgm").mkdir(parents=True)
    (tmp_path / "work" / "own").mkdir(parents=True)
    monkeypatch.setenv("TSFM_ADAPT_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "work")
    assert portable(str(tmp_path / "data" / "cgm")) == "cgm"
    assert portable("own") == "own"
    assert portable(str(tmp_path)) == str(tmp_path)
    assert portable(str(tmp_path / "data")) == str(tmp_path / "data")  # '.' is where one works
    (tmp_path / "work" / "cgm").mkdir()  # would be found first
    assert portable(str(tmp_path / "data" / "cgm")) == str(tmp_path / "data" / "cgm")


def test_a_unit_that_was_guessed_is_marked_in_the_recipe(tmp_path):
    rows = "".join(f"a,{t},{hr:.2f},{hr / 7:.2f}\n" for t, hr in enumerate(walk(400)))
    (tmp_path / "t.csv").write_text("id,time,HR,thing\n" + rows)
    reader = recognised(tmp_path)
    recipe = loads(text(propose(look(reader), reader), tmp_path, tmp_path / "recipe.yaml"))
    assert recipe.data.assumed_units == ("HR",), "of the other nothing is known, and nothing said"
