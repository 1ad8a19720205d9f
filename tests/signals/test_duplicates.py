"""Copies are found wherever they hide, nothing is found where nothing is copied."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.copies import pair, recording, wander
from tsfm_adapt.recipe.files import load
from tsfm_adapt.recipe.parts import read_clean
from tsfm_adapt.signals import duplicates as module
from tsfm_adapt.signals.duplicates import STRETCH, duplicated

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize("samples", [STRETCH, 33, 47, 64, 150])
@pytest.mark.parametrize("at", [100, 113, 131])
def test_a_copied_stretch_is_found_whole_and_where_it_lies(samples, at):
    (copy,) = duplicated(pair(samples, at))
    assert (copy.channel, copy.samples) == ("HR", samples)
    assert {copy.one.subject, copy.other.subject} == {"a", "b"}
    assert copy.one_s == (60.0 * at, 60.0 * (at + samples - 1))
    assert copy.other_s == (60.0 * 37, 60.0 * (37 + samples - 1))


def test_one_sample_less_than_a_stretch_is_no_copy():
    assert duplicated(pair(STRETCH - 1)) == []


def test_a_copy_within_one_subject_is_none_and_the_caller_may_say_otherwise():
    one, other = pair(100)
    same = [one, replace(other, subject="a")]
    assert duplicated(same) == []
    assert len(duplicated(same, lambda r: r.id)) == 1


def test_gaps_do_not_hide_a_copy():
    one, other = pair(100)
    values = np.insert(other.values, [60, 61, 90], np.nan, axis=1)
    (copy,) = duplicated([one, replace(other, values=values)])
    assert copy.samples == 100
    assert copy.other_s == (60.0 * 37, 60.0 * (37 + 99 + 3))


def test_a_copy_in_another_channel_is_none():
    one, other = wander(seed=1), wander(seed=2)
    other[1] = one[0]
    assert duplicated([recording(one, "a"), recording(other, "b")]) == []


def test_every_copy_of_one_recording_is_told_once_for_each_owner():
    source = wander(seed=5, channels=1)
    three = [recording(source.copy(), name) for name in "abc"]
    copies = duplicated(three)
    assert {copy.other.subject for copy in copies} == {"b", "c"}
    assert {copy.one.subject for copy in copies} == {"a"}
    assert {copy.samples for copy in copies} == {400}


def sawtooth(rise):
    return np.tile(np.arange(rise), 100)[:400]


@pytest.mark.parametrize(
    "values",
    [
        np.full(400, 98.0),
        np.arange(400.0),
        np.tile([98.0, 99.0], 200),
        sawtooth(9),
        np.repeat([97.0, 98.0, 99.0, 98.0], 100),
        np.full(400, np.nan),
        np.where(np.arange(400) % 50 == 0, 97.0, 98.0),
    ],
    ids=["constant", "ramp", "two values", "sawtooth", "stairs", "nothing", "rare steps"],
)
def test_what_any_two_patients_may_share_is_no_copy(values):
    assert duplicated([recording(values, "a"), recording(values.copy(), "b")]) == []


@pytest.mark.parametrize("changes", [(3, 0.5), (4, 0.3), (9, 0.02)], ids=str)
def test_no_copy_is_told_of_a_thousand_independent_patients(changes):
    """Whole numbers of few values: stays, and steps of one with a given chance."""
    values, chance = changes
    rng = np.random.default_rng(0)
    steps = rng.choice([-1, 0, 1], (1000, 300), p=[chance / 2, 1 - chance, chance / 2])
    level = 98 + np.abs((np.cumsum(steps, axis=1) % (2 * values)) - values)
    everyone = [recording(row.astype(float), f"p{k}") for k, row in enumerate(level)]
    assert duplicated(everyone) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_a_memory_map_and_any_type_of_number_are_read(tmp_path, dtype):
    one, other = wander(seed=1, dtype=dtype), wander(seed=2, dtype=dtype)
    other[1, 200:300] = one[1, 50:150]
    np.save(tmp_path / "one.npy", one)
    mapped = np.load(tmp_path / "one.npy", mmap_mode="r")
    (copy,) = duplicated([recording(mapped, "a"), recording(other, "b")])
    assert copy.channel == "MAP"
    assert copy.samples >= 100


def test_pieces_of_any_size_give_the_same(monkeypatch):
    cohort = pair(150) + [recording(wander(700, seed), f"p{seed}") for seed in range(3, 9)]
    cohort[4].values[:, 100:350] = np.nan
    whole = duplicated(cohort)
    assert len(whole) == 1
    for size in (40, 97, 1000):
        monkeypatch.setattr(module, "_BATCH", size)
        assert duplicated(cohort) == whole


def test_beyond_the_limit_whole_copies_are_still_found(monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 300)
    cohort = [recording(wander(2000, seed), f"p{seed}") for seed in range(6)]
    cohort.append(recording(cohort[2].values.copy(), "copy"))
    copies = duplicated(cohort)
    assert {(c.one.subject, c.other.subject, c.samples) for c in copies} == {("p2", "copy", 2000)}


def test_of_a_cohort_beyond_all_measure_the_beginnings_are_searched(monkeypatch):
    monkeypatch.setattr(module, "_SEARCHED", 4000)
    one, other = (recording(wander(2000, seed), name) for seed, name in ((1, "a"), (2, "b")))
    other.values[:, 600:1900] = one.values[:, 600:1900]
    (heart, pressure) = duplicated([one, other])
    assert heart.samples == pressure.samples == 1300  # seen from the half, followed to the end
    other.values[:, 600:1000] = 0
    assert duplicated([one, other]) == []


def test_a_copy_is_followed_in_pieces_where_it_is_long(monkeypatch):
    monkeypatch.setattr(module, "_REACH", 64)
    one = recording(wander(2000, 1, channels=1), "a")
    copies = duplicated([one, recording(one.values.copy(), "b")])
    assert sum(copy.samples for copy in copies) >= 2000 - 2 * STRETCH
    assert len(copies) > 1


@pytest.mark.skipif(
    not DATA.is_dir(), reason="the development recordings are not beside this checkout"
)
@pytest.mark.parametrize("name", ["glucose_forecast", "icu_hourly_forecast"])
def test_real_patients_hold_no_copies_and_one_that_is_added_is_found(name, monkeypatch):
    monkeypatch.setenv("TSFM_ADAPT_DATA", str(DATA))
    cohort = list(read_clean(load(ROOT / "recipes" / f"{name}.yaml").data))
    cohort = cohort[:300]
    assert duplicated(cohort, lambda r: r.id) == []
    longest = max(cohort, key=lambda r: np.isfinite(r.values[0]).sum())
    copies = duplicated([*cohort, replace(longest, id="copy", subject="copy")])
    assert {(copy.one.subject, copy.other.subject) for copy in copies} == {
        (longest.subject, "copy")
    }
