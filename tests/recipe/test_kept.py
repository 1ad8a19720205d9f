"""Recordings kept from run to run: the same windows and numbers, read once, never stale."""

import os

import numpy as np
import pytest

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import DataError
from tsfm_adapt.evaluation.forecast_errors import mase_scale
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import SPLITS, prepare, read_clean
from tsfm_adapt.signals import store
from tsfm_adapt.signals.mapping import _map_of
from tsfm_adapt.signals.readers import csv

TEXT = """
name: kept
seed: 5
data:
  reader: {{name: csv, root: {root}, layout: wide, units: {{HR: bpm, SpO2: "%"}}}}
  channels: {{HR: bpm, SpO2: "%"}}
  rate_hz: 1/60
  cleaning: {{ranges: {{HR: [10, 300]}}, max_gap_s: 600}}
  split: {{by: subject, train: 2, val: 1, test: 1}}
backbone: {{name: chronos2}}
task: {{name: forecast, context_s: 3600, horizon_s: 900}}
"""


class Said(Progress):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """An empty cache, in which everything is kept."""
    monkeypatch.setenv("TSFM_ADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "SMALL", -1.0)
    return tmp_path / "cache" / "recordings"


@pytest.fixture
def recipe(tmp_path):
    """Of four subjects with a gap and values beyond the range; one has no value."""
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in "abcd":
        minutes = [*range(150), *range(200, 330)]
        heart = 80 + np.cumsum(rng.normal(size=len(minutes)))
        heart[7] = 500
        rows = [f"{60 * m},{h:.6f},{97 + m % 3}" for m, h in zip(minutes, heart, strict=True)]
        (root / f"{name}.csv").write_text("\n".join(["time,HR,SpO2", *rows]) + "\n")
    (root / "e.csv").write_text("time,HR,SpO2\n0,500,\n")
    return loads(TEXT.format(root=root))


@pytest.fixture
def read(monkeypatch):
    """Which files were read."""
    found = []
    load = csv.Config.load

    def noted(self, path):
        found.append(path.name)
        return load(self, path)

    monkeypatch.setattr(csv.Config, "load", noted)
    return found


def in_memory(recipe, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store, "SMALL", 1e12)
        return prepare(recipe)


def mapped(parts):
    return [_map_of(r.values) is not None for r in parts.fit]


@pytest.mark.parametrize("by", ["subject", "time"])
def test_a_run_from_the_store_has_the_windows_and_numbers_of_one_in_memory(
    recipe, monkeypatch, by
):
    changes = {"by": "time", "train": 0.5, "val": 0.25, "test": 0.25} if by == "time" else {}
    recipe = recipe.override({f"data.split.{name}": value for name, value in changes.items()})
    recipe = recipe.override({"task.context_s": 1200} if by == "time" else {})
    direct, first, again = in_memory(recipe, monkeypatch), prepare(recipe), prepare(recipe)
    assert not any(mapped(direct))
    for kept in (first, again):
        assert all(mapped(kept))
        assert kept.left_out == direct.left_out
        assert "e" in kept.left_out
        assert kept.rates == direct.rates
        for part in SPLITS:
            one, other = kept.windows[part], direct.windows[part]
            assert one.origins_sha256() == other.origins_sha256()
            one, other = (w.gather(np.arange(len(w))) for w in (one, other))
            for name in ("values", "observed", "target", "target_observed", "start_s"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_allclose(kept.deviation, direct.deviation, rtol=1e-6)
        np.testing.assert_allclose(mase_scale(kept.fit), mase_scale(direct.fit), rtol=1e-5)
    np.testing.assert_array_equal(first.deviation, again.deviation)


def test_files_are_read_once_and_again_after_any_change(recipe, read, place):
    told = Said()
    read_clean(recipe.data, told)
    assert sorted(read) == [f"{name}.csv" for name in "abcde"]
    assert len(told.lines) == 1
    assert "later runs open them at once" in told.lines[0]
    read.clear()
    before = read_clean(recipe.data, told)
    assert (read, len(told.lines)) == ([], 1)
    file = next(path for path in recipe.data.reader.files() if path.name == "b.csv")
    file.write_text(file.read_text().replace("\n0,", "\n0,1", 1))
    after = read_clean(recipe.data, told)
    assert len(read) == 5
    assert len(list(place.iterdir())) == 2
    one, other = ({r.id: r.values for r in found} for found in (before, after))
    assert one["b#1"][0, 0] != other["b#1"][0, 0]
    np.testing.assert_array_equal(one["a#1"], other["a#1"])
    read.clear()
    (file.parent / "notes.txt").write_text("no table")
    read_clean(recipe.data, told)
    assert read == [], "it is none of the reader's files"
    narrower = recipe.override({"data.cleaning.ranges.HR": [20, 300]})
    read_clean(narrower.data, told)
    assert len(read) == 5


def test_another_recipe_on_the_same_cleaned_data_opens_the_same_store(recipe, read):
    prepare(recipe)
    read.clear()
    prepare(recipe.override({"seed": 6, "task.horizon_s": 1800, "data.split.train": 1}))
    assert read == []


def test_where_nothing_can_be_kept_the_run_goes_on_and_says_so(recipe, place):
    place.parent.mkdir()
    place.write_text("in the way")
    told = Said()
    parts = prepare(recipe, progress=told)
    assert not any(mapped(parts))
    assert len(told.lines) == 1
    assert "cannot be kept in" in told.lines[0]
    assert "read again each time" in told.lines[0]


def test_a_cohort_without_a_value_leaves_no_store(recipe, place):
    empty = recipe.override({"data.cleaning.ranges": {"HR": [900, 999], "SpO2": [900, 999]}})
    with pytest.raises(DataError, match="No measured value is left after cleaning"):
        prepare(empty)
    assert not place.exists()


def test_small_cohorts_are_not_kept(recipe, place, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("TSFM_ADAPT_CACHE", str(place.parent))
    assert not any(mapped(prepare(recipe)))
    assert not place.exists()


def test_simulated_recordings_have_no_files_to_be_kept_for(recipe, place):
    simulated = recipe.override({"data.reader": {"name": "synthetic", "subjects": 8, "hours": 4}})
    assert simulated.data.reader.files() is None
    prepare(simulated)
    assert not place.exists()


def test_a_store_that_lost_its_end_is_made_anew(recipe, place, read):
    read_clean(recipe.data, Said())
    (folder,) = place.iterdir()
    os.truncate(folder / "values.f32", 100)
    read.clear()
    assert len(read_clean(recipe.data, Said())) == 8
    assert len(read) == 5
