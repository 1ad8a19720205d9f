"""What is seen in unknown recordings, and what is proposed for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.proposal.proposal import propose
from tsfm_adapt.proposal.recipe_text import portable, text
from tsfm_adapt.proposal.survey import Bounds, look
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import Events, Recording


class Given(ReaderConfig):
    """Recordings made by a test."""

    name: str = "given"
    items: ClassVar[list[Any]] = []
    read_so_far: ClassVar[list[str]] = []

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording | Events]:
        for item in self.items:
            self.read_so_far.append(item.id)
            yield item


def given_items(*items):
    class Own(Given):
        pass

    Own.items, Own.read_so_far = list(items), []
    return Own()


def recording(values, subject="a", rate_hz=1.0, channels=("HR",), units=("bpm",), **more):
    values = np.atleast_2d(np.asarray(values, float))
    fields = {"id": f"{subject}-1", "subject": subject, "start": None} | more
    return Recording(values=values, channels=channels, units=units, rate_hz=rate_hz, **fields)


def walk(samples, seed=0, around=80.0):
    return around + np.cumsum(np.random.default_rng(seed).normal(size=samples)).clip(-30, 30)


def proposed(*items, task=None):
    reader = given_items(*items)
    return propose(look(reader), reader, task)


def line_of(proposal, name):
    return next(line for line in proposal.channels if line.name == name)


def test_counts_are_of_all_recordings_looked_at():
    one = walk(100)
    one[10:30] = np.nan
    one[40:44] = 0
    one[50:80] = 77.0
    survey = look(given_items(recording(one), recording(walk(50, 1), "b")))
    (channel,) = survey.channels
    assert (channel.measured, channel.samples, channel.zeros) == (130, 150, 4)
    assert (channel.recordings, channel.subjects, survey.subjects) == (2, 2, 2)
    assert channel.longest_gap_s == 20
    assert survey.longest_gap_s == 20
    assert channel.longest_flat_s == 29
    assert survey.durations_s == (100, 50)


def test_no_more_is_read_than_the_bounds_allow():
    reader = given_items(*(recording(walk(100, s), f"s{s}") for s in range(30)))
    survey = look(reader, Bounds(recordings=5, listed=12))
    assert (survey.looked, len(survey.listed), survey.more) == (5, 12, True)
    assert len(reader.read_so_far) == 13
    assert survey.channels[0].measured == 500
    of_values = look(reader, Bounds(values=250))
    assert (of_values.looked, len(of_values.listed), of_values.more) == (3, 30, False)


def test_bounded_values_stop_the_list_too():
    reader = given_items(*(recording(walk(100, s), f"s{s}") for s in range(30)))
    survey = look(reader, Bounds(listed_values=950))
    assert (len(survey.listed), survey.more) == (10, True)


def test_zeros_of_a_vital_sign_are_missing_and_of_others_only_where_far_away():
    heart, far, near, both = walk(400), walk(400, 1), walk(400, 2, 0.0), np.abs(walk(400, 3, 1.0))
    for row in (heart, far, near, both):
        row[100:110] = 0
    channels = ("HR", "X", "ECG", "Y")
    proposal = proposed(
        recording([heart, far, near, both], channels=channels, units=("bpm", "1", "mV", "1"))
    )
    assert "2.5% are exactly 0" in line_of(proposal, "HR").zero
    assert line_of(proposal, "X").zero is not None
    assert line_of(proposal, "ECG").zero is None
    assert line_of(proposal, "Y").zero is None
    assert line_of(proposal, "HR").limits == (10, 350)
    assert line_of(proposal, "X").limits is None


def test_what_is_constant_empty_or_dead_is_left_out():
    dead = np.zeros(400)
    dead[:3] = 90
    rows = [walk(400), np.full(400, 7.0), np.full(400, np.nan), dead]
    proposal = proposed(
        recording(rows, channels=("HR", "flag", "none", "MAP"), units=("bpm", "1", "1", "mmHg"))
    )
    assert [line.name for line in proposal.kept] == ["HR"]
    assert line_of(proposal, "flag").why == "always 7"
    assert line_of(proposal, "none").why == "never measured"
    assert "0.8% of the samples" in line_of(proposal, "MAP").why


def test_a_channel_of_a_minority_is_left_out():
    both = recording([walk(400), walk(400, 1)], channels=("HR", "RESP"), units=("bpm", "pm"))
    proposal = proposed(both, *(recording(walk(400, s), f"s{s}") for s in range(3)))
    assert line_of(proposal, "RESP").why == "measured in 1 of 4 recordings"


def test_an_unstated_unit_is_told_by_name_and_values():
    proposal = proposed(
        recording(
            [walk(400), walk(400, 1, 1000.0), walk(400, 2, 98.0) * 0.01 + 97],
            channels=("HR", "X", "Temp"),
            units=("1", "", "1"),
        )
    )
    assert (line_of(proposal, "HR").unit, line_of(proposal, "HR").from_unit) == ("1/min", "1/min")
    assert (line_of(proposal, "X").unit, line_of(proposal, "X").from_unit) == ("1", "1")
    assert line_of(proposal, "Temp").from_unit == "degF"
    assert line_of(proposal, "Temp").limits == (59, 113)


@pytest.mark.parametrize(
    ("subjects", "by"), [(1, "time"), (2, "time"), (3, "subject"), (5, "subject"), (9, "subject")]
)
def test_people_are_split_where_there_are_enough(subjects, by):
    proposal = proposed(*(recording(walk(3000, s), f"s{s}") for s in range(subjects)))
    assert proposal.split["by"] == by
    said = " ".join(proposal.notes)
    assert ("never evidence" in said) == (by == "time")
    assert ("fewer than 8" in said) == (3 <= subjects < 8)


@pytest.mark.parametrize("samples", [60, 100, 333, 1000, 5000])
def test_every_part_holds_a_window(samples):
    proposal = proposed(recording(walk(samples)))
    window = proposal.window
    assert 0.2 * samples >= window.context + window.horizon
    assert window.context <= 256
    if samples >= 5000:
        assert window.context == 256


def test_no_window_is_an_error_that_names_the_longest():
    with pytest.raises(DataError, match=r"a-1, has 20 samples"):
        proposed(recording(walk(20)))


def test_fast_signals_are_slowed_by_a_whole_number():
    for rate_hz, expected in ((360, 120), (250, 125), (1000, 125), (100, 100), (128, 128)):
        proposal = proposed(recording(walk(40_000), rate_hz=float(rate_hz)))
        assert proposal.rate_hz == expected


def test_of_one_stretch_at_several_rates_what_is_not_much_slower_stays():
    parts = [
        recording(
            walk(200 * rate),
            id=f"a/{rate}",
            rate_hz=float(rate),
            channels=(name,),
            units=("mV",),
            part_of="a",
        )
        for name, rate in (("slow", 1), ("middle", 25), ("fast", 100))
    ]
    proposal = proposed(*parts)
    assert proposal.rate_hz == 25
    assert [line.name for line in proposal.kept] == ["middle", "fast"]
    assert look(given_items(*parts)).looked == 1


def events(subject, time_s, value, duration_s=None, **more):
    time_s = np.asarray(time_s, float)
    return Events(
        id=subject,
        subject=subject,
        time_s=time_s,
        channel=np.zeros(len(time_s), np.int64),
        value=np.asarray(value, float),
        channels=("gl",),
        units=("mg/dL",),
        duration_s=duration_s,
        **more,
    )


def test_the_clock_of_readings_is_their_usual_interval_and_long_gaps_are_cut():
    time_s = 300.0 * np.arange(2000) + np.random.default_rng(0).uniform(-20, 20, 2000)
    time_s[1000:] += 86400 * 30
    items = [events(f"s{s}", time_s, walk(2000, s, 120.0)) for s in range(4)]
    proposal = proposed(*items)
    assert proposal.rate_hz == pytest.approx(1 / 300)
    assert proposal.max_gap_s == pytest.approx(3600)
    assert max(r.samples for r in proposal.recordings) < 1100
    stated = [events(f"s{s}", time_s, walk(2000, s, 120.0), 86400 * 60.0) for s in range(4)]
    assert proposed(*stated).max_gap_s is None


def trials(count=30, samples=64, classes=3, **labels):
    return [
        recording(
            np.random.default_rng(i).normal(size=samples),
            f"t{i}",
            channels=("x",),
            units=("1",),
            labels={"label": i % classes} | labels,
        )
        for i in range(count)
    ]


def test_labelled_trials_are_classified():
    proposal = proposed(*trials())
    assert (proposal.task, proposal.window.context) == ("classify", 64)
    assert proposal.written.task["labels"]["classes"] == [0, 1, 2]
    assert proposed(*trials(), task="forecast").task == "forecast"


def test_long_trials_are_slowed_until_they_fit():
    proposal = proposed(*trials(samples=1200))
    assert proposal.rate_hz == pytest.approx(1 / 3)
    assert proposal.window.context == 400


def test_published_parts_are_kept():
    items = trials(20, part="train")
    items += [
        recording(i.values, f"u{n}", id=f"u{n}", channels=("x",), units=("1",),
                  labels=i.labels | {"part": "test"})
        for n, i in enumerate(trials(10))
    ]  # fmt: skip
    assert proposed(*items).split == {"by": "predefined", "val": 0.2}
    assert proposed(*trials(20, part="train")).split["by"] == "subject"


def test_to_classify_needs_a_label():
    with pytest.raises(DataError, match="no labels"):
        proposed(recording(walk(500)), task="classify")


def test_copies_under_two_names_are_told():
    same = walk(600)
    proposal = proposed(recording(same, "a"), recording(same, "b"), recording(walk(600, 1), "c"))
    (note,) = [note for note in proposal.notes if "share" in note]
    assert "1 pair of subjects" in note
    assert "600 values of HR" in note


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


def test_a_special_format_goes_before_a_table_and_two_are_asked_about(tmp_path, monkeypatch):
    rows = "".join(f"a,{t},{80 + t % 7}\n" for t in range(20))
    (tmp_path / "t.csv").write_text("id,time,HR\n" + rows)
    np.save(tmp_path / "x.npy", np.ones((5, 2, 8)))
    assert recognised(tmp_path).name == "npy"
    assert recognised(tmp_path, "csv").name == "csv"
    found = recognised(tmp_path, "{name: csv, layout: wide, units: {HR: bpm}}")
    assert found.root == str(tmp_path)
    from tsfm_adapt.signals.readers import empatica

    claims = classmethod(lambda cls, path: cls(root=str(path)))
    monkeypatch.setattr(empatica.Config, "guess", claims)
    with pytest.raises(DataError, match=r"empatica and npy.*Name the reader"):
        recognised(tmp_path)


def test_a_reader_that_is_asked_for_must_exist_and_fit(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(RecipeError, match="Did you mean 'csv'"):
        recognised(tmp_path, "cvs")
    with pytest.raises(DataError, match="does not look like it"):
        recognised(tmp_path, "csv")
    with pytest.raises(RecipeError, match="layout"):
        recognised(tmp_path, "{name: csv}")


def test_paths_without_recordings_are_told_apart(tmp_path):
    for path, said in ((tmp_path / "no", "does not exist"), (tmp_path, "has none")):
        with pytest.raises(DataError, match=said):
            recognised(path)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="0 bytes"):
        recognised(tmp_path / "empty.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        recognised(tmp_path / "pipe.csv")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"No reader knows.*tried were"):
        recognised(tmp_path)
