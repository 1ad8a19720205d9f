"""From a recipe to windows: who is where, what is left out, and what is counted."""

import re

import numpy as np
import pytest

from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import SPLITS, cleaning_plan, prepare, read_clean

# Windows of 60 + 15 samples.
TEXT = """
name: parts
seed: 5
data:
  reader: {name: synthetic, subjects: 12, hours: 5}
  channels: {HR: bpm, SpO2: "%"}
  rate_hz: 1/60
backbone: {name: chronos2}
task: {name: forecast, context_s: 3600, horizon_s: 900}
"""


def parts_of(*sets, smoke=False):
    return prepare(loads(TEXT, sets), smoke)


def counts(parts):
    return {part: len(parts.windows[part]) for part in SPLITS}


@pytest.fixture
def table(tmp_path):
    """`table(a=100, b=40)`: a reader's setting for a CSV of subjects with so many minutes."""

    def build(**minutes):
        rows = ["id,time,HR,SpO2"]
        for name, count in minutes.items():
            rows += [f"{name},{60 * k},{70 + k % 9},{90 + k % 7}" for k in range(count)]
        path = tmp_path / "table.csv"
        path.write_text("\n".join(rows) + "\n")
        return (
            f"data.reader={{name: csv, root: {path}, layout: wide, subject: id, "
            "units: {HR: bpm, SpO2: '%'}}"
        )

    return build


def test_no_subject_is_in_two_parts_and_none_is_lost():
    parts = parts_of("data.split={train: 0.5, val: 0.25, test: 0.25}")
    subjects = {part: {r.subject for r in parts.recordings[part]} for part in SPLITS}
    assert {part: len(names) for part, names in subjects.items()} == {
        part: parts.subjects(part) for part in SPLITS
    }
    assert [parts.subjects(part) for part in SPLITS] == [6, 3, 3]
    assert len(set.union(*subjects.values())) == 12
    for part in SPLITS:
        assert set(parts.windows[part].subject_names) == subjects[part]


def test_the_recipes_seed_decides_who_is_where_and_nothing_else_does():
    first, again, other = (
        [[r.subject for r in parts_of(*sets).recordings[part]] for part in SPLITS]
        for sets in ([], ["train.steps=7"], ["seed=6"])
    )
    assert first == again
    assert first != other


def test_training_windows_start_at_every_sample_and_others_a_horizon_apart():
    """300 samples a subject: 226 windows by stride 1, 16 by stride 15."""
    parts = parts_of("data.split={train: 6, val: 2, test: 4}")
    assert counts(parts) == {"train": 6 * 226, "val": 2 * 16, "test": 4 * 16}


def test_the_deviation_is_numpys_over_the_measured_training_samples():
    parts = parts_of()
    values = np.concatenate([r.values for r in parts.recordings["train"]], axis=1)
    assert np.isnan(values).any()
    np.testing.assert_allclose(parts.deviation, np.nanstd(values, axis=1), rtol=1e-9)


def test_altering_the_test_subjects_changes_no_number_that_is_fitted(table, tmp_path):
    sets = [table(a=90, b=100, c=95), "data.split={by: lists, train: [a], val: [b], test: [c]}"]
    before = parts_of(*sets)
    file = tmp_path / "table.csv"
    file.write_text(re.sub(r"(?m)^(c,\d+),7", r"\1,17", file.read_text()))
    after = parts_of(*sets)
    np.testing.assert_array_equal(before.deviation, after.deviation)
    for one, other in zip(before.fit, after.fit, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    changed = before.recordings["test"][0].values != after.recordings["test"][0].values
    assert changed.any()


def test_a_channel_that_is_never_measured_in_train_is_named():
    with pytest.raises(DataError, match=r"data.channels: Temp has no measured value in the train"):
        parts_of("data.channels.Temp=degC", "data.cleaning.ranges={Temp: [90, 100]}")


def test_data_without_any_measured_value_is_refused():
    with pytest.raises(DataError, match="No measured value is left after cleaning"):
        parts_of("data.cleaning.ranges={HR: [900, 1000], SpO2: [900, 1000]}")


def test_recordings_too_short_for_one_window_are_left_out_with_the_reason(table):
    lists = "data.split={by: lists, train: [a, b], val: [c], test: [d, e]}"
    parts = parts_of(table(a=75, b=74, c=90, d=10, e=76), lists)
    assert counts(parts) == {"train": 1, "val": 2, "test": 1}
    assert parts.left_out == {
        "b": "74 samples, a window needs 60 + 15",
        "d": "10 samples, a window needs 60 + 15",
    }
    assert [r.id for r in parts.recordings["train"]] == ["a"]
    assert [r.id for r in parts.fit] == ["a", "b", "c"]  # a short stay still has a scale


@pytest.mark.parametrize("part", SPLITS)
def test_a_part_without_any_window_is_named_with_the_lengths_found(table, part):
    minutes = dict(zip("abc", (20 if part == p else 100 for p in SPLITS), strict=True))
    with pytest.raises(DataError, match=rf"the {part} split has no window.*20 samples.*60 \+ 15"):
        parts_of(table(**minutes), "data.split={by: lists, train: [a], val: [b], test: [c]}")


def test_a_recipe_may_do_without_validation():
    parts = parts_of("data.split={train: 9, val: 0, test: 3}")
    assert counts(parts)["val"] == parts.subjects("val") == 0
    assert counts(parts)["test"] == 3 * 16


def test_test_windows_beyond_the_limit_are_thinned_evenly_and_others_are_not():
    whole = parts_of("data.split={train: 6, val: 2, test: 4}")
    thin = parts_of("data.split={train: 6, val: 2, test: 4}", "evaluate.max_windows=10")
    assert counts(thin) == {**counts(whole), "test": 10}
    every = list(zip(whole.windows["test"].recording, whole.windows["test"].start, strict=True))
    kept = list(zip(thin.windows["test"].recording, thin.windows["test"].start, strict=True))
    positions = [every.index(window) for window in kept]
    assert set(np.diff(positions)) <= {6, 7}  # 64 windows over 10
    assert thin.subjects("test") == len(set(thin.windows["test"].subjects.tolist())) == 4


def test_smoke_keeps_three_subjects_and_four_windows_a_part():
    parts = parts_of("data.split={train: 6, val: 2, test: 4}", smoke=True)
    assert [parts.subjects(part) for part in SPLITS] == [3, 2, 3]
    assert counts(parts) == {"train": 4, "val": 4, "test": 4}


def test_by_time_the_parts_of_a_recording_follow_each_other():
    parts = parts_of("data.split={by: time, train: 0.4, val: 0.3, test: 0.3}")
    for recordings in zip(*(parts.recordings[part] for part in SPLITS), strict=True):
        assert len({r.subject for r in recordings}) == 1
        starts = [r.start for r in recordings]
        assert starts == sorted(starts)
        assert [r.samples for r in recordings] == [120, 90, 90]


@pytest.mark.parametrize(
    "sizes", ["{train: 0.9, val: 0.2, test: 0.1}", "{train: 20, val: 1, test: 1}"]
)
def test_sizes_that_cannot_be_met_are_refused(sizes):
    with pytest.raises((RecipeError, DataError), match=r"data\.split"):
        parts_of(f"data.split={sizes}")


def test_channels_are_renamed_and_converted_as_the_recipe_says(table):
    setting = table(a=100, b=100, c=100)
    split = "data.split={by: lists, train: [a], val: [b], test: [c]}"
    renamed = "data.channels={pulse: {unit: Hz, source: HR, from_unit: Hz}, SpO2: '%'}"
    recipe = loads(TEXT, [setting, split, renamed])
    plan = cleaning_plan(recipe.data)
    assert [(c.name, c.source, c.unit) for c in plan.channels] == [
        ("pulse", "HR", "Hz"),
        ("SpO2", "SpO2", "%"),
    ]
    assert {r.channels for r in read_clean(recipe.data)} == {("pulse", "SpO2")}
    assert prepare(recipe).windows["test"].gather([0]).channels == ("pulse", "SpO2")


def test_a_channel_may_have_several_sources(table):
    setting = table(a=100, b=100, c=100)
    split = "data.split={by: lists, train: [a], val: [b], test: [c]}"
    channels = "data.channels={pulse: {unit: bpm, source: [PULSE, HR]}, SpO2: '%'}"
    recipe = loads(TEXT, [setting, split, channels])
    assert cleaning_plan(recipe.data).sources == ("PULSE", "HR", "SpO2")
    prepared = prepare(recipe)
    assert prepared.notes["recordings with pulse from 'HR'"] == 3
    assert prepared.rates[0].source == "PULSE or HR"
    with pytest.raises(RecipeError, match=r"data\.channels\.pulse"):
        loads(TEXT, [setting, split, "data.channels={pulse: {unit: bpm, source: []}}"])


def test_a_channel_that_no_recording_has_is_refused_with_those_there_are():
    with pytest.raises(DataError, match=r"data.channels.ICP.*no recording has.*Found: .*HR"):
        parts_of("data.channels.ICP=mmHg")


@pytest.fixture
def copied(tmp_path):
    """Sets of a table of three subjects; `c`, of the test part, is `a` from minute 20 on."""
    rng = np.random.default_rng(3)
    heart = {name: 80 + np.cumsum(rng.integers(-3, 4, 120)) for name in "abc"}
    heart["c"][:100] = heart["a"][20:]
    rows = ["id,time,HR,SpO2"]
    rows += [f"{id},{60 * k},{hr[k]},{90 + k % 7}" for id, hr in heart.items() for k in range(120)]
    path = tmp_path / "copied.csv"
    path.write_text("\n".join(rows) + "\n")
    return [
        f"data.reader={{name: csv, root: {path}, layout: wide, subject: id, "
        "units: {HR: bpm, SpO2: '%'}}",
        "data.split={by: lists, train: [a], val: [b], test: [c]}",
    ]


@pytest.mark.parametrize("smoke", [False, True])
def test_a_subject_copied_into_another_part_stops_the_run_and_says_what_to_do(copied, smoke):
    with pytest.raises(DataError) as told:
        parts_of(*copied, smoke=smoke)
    assert "subject a in train and subject c in test hold the same 100 values of HR" in str(
        told.value
    )
    assert "from 00:20:00 to 01:59:00 of the first" in str(told.value)
    assert "data.split.allow_duplicates: true" in str(told.value)


def test_copies_that_the_recipe_allows_are_told_and_nothing_else_changes(copied):
    parts = parts_of(*copied, "data.split.allow_duplicates=true")
    assert [finding.kind for finding in parts.audit.findings] == ["duplicate"]
    assert parts.audit.lines[0].startswith("leakage audit: subject a in train and subject c in")
    assert parts_of().audit.findings == ()


def test_copies_in_one_part_are_no_leak(copied):
    together = "data.split={by: lists, train: [a, c], val: [], test: [b]}"
    assert parts_of(copied[0], together).audit.findings == ()


def test_poisoned_test_recordings_change_no_baseline_no_scale_and_no_deviation(table, tmp_path):
    """Nothing that is fitted reads the test part: not even one prediction moves."""
    from tsfm_adapt.evaluation.forecast_errors import mase_scale
    from tsfm_adapt.tasks.base import Task

    sets = [table(a=90, b=100, c=95), "data.split={by: lists, train: [a], val: [b], test: [c]}"]
    recipe = loads(TEXT, sets)
    task: Task = recipe.task.build()

    def fitted():
        parts = prepare(recipe)
        window = parts.windows["train"].gather([0, 3])
        predicted = {
            name: predictor.predict(window, 15)
            for name, predictor in task.baselines(parts.fit, 1 / 60, None).items()
        }
        return {"scale": mase_scale(parts.fit), "deviation": parts.deviation, **predicted}

    before = fitted()
    file = tmp_path / "table.csv"
    file.write_text(re.sub(r"(?m)^(c,\d+),.*$", r"\1,299,21", file.read_text()))
    for name, value in fitted().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_subgroup_that_nobody_has_stops_before_anything_is_trained():
    with pytest.raises(DataError, match=r"no recording of the test set has the attribute 'race'"):
        parts_of("evaluate.subgroups=[race]")
    assert parts_of("evaluate.subgroups=[sex, {age: [0, 45, 65, 120]}]").subjects("test") == 2


@pytest.mark.parametrize(
    ("subgroups", "told"),
    [
        ("[sex, sex]", "each attribute stands once"),
        ("[{age: [45]}]", "subgroups.age: two edges or more"),
        ("[{age: [45, 0]}]", "increasing"),
    ],
)
def test_subgroups_that_make_no_sense_are_refused(subgroups, told):
    with pytest.raises(RecipeError, match=told):
        parts_of(f"evaluate.subgroups={subgroups}")


def test_the_audit_says_where_the_reader_does_not_know_who_was_recorded(tmp_path):
    for file in range(8):
        rows = "".join(f"{60 * t},{60 + (7 * file + t * t) % 41}\n" for t in range(160))
        (tmp_path / f"s{file}.csv").write_text("time,HR\n" + rows)
    settings = f"layout: wide, root: {tmp_path}, time: time, units: {{HR: bpm}}"
    reader = f"data.reader={{name: csv, {settings}}}"
    sizes = [
        f"data.split.{name}={size}" for name, size in zip(SPLITS, (0.5, 0.25, 0.25), strict=True)
    ]
    parts = parts_of(reader, "data.channels={HR: bpm}", *sizes)
    assert parts.audit.summary()["subjects"] == "not checked"
    assert "not checked" in parts.audit.lines[-1]
    assert "data.reader.subject" in parts.audit.lines[-1]
    assert parts_of().audit.summary()["subjects"] == "checked"
