import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from contracts.batch import roughened
from contracts.small_run import SEED, settings, windows
from contracts.task import RATE_HZ, TaskContract, with_garbage
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.adapters import lora
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.evaluation.base import Predictor, Scale
from tsfm_adapt.heads import linear
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.recipe.files import load
from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.recording import RecordingSet, Span
from tsfm_adapt.tasks import classify
from tsfm_adapt.training import building
from tsfm_adapt.training import loop as training
from tsfm_adapt.training.building import fit_head

SCALE = Scale(("HR", "MAP"), ("bpm", "mmHg"), np.array([0.5, 2.0]))
SICK = {"of": "recording", "label": "sick", "classes": {"well": 0, "sick": 1}}
KIND = {"of": "recording", "label": "kind", "classes": ["a", "b", "c"]}
ANY = {"of": "any", "labels": ["sick", "old"]}
SOON = {"of": "future", "spans": ["alarm"], "within_s": 600}
BEATS = {"of": "event", "spans": {"N": "normal", "V": "ectopic"}, "before_s": 300}


def recordings(subjects=6, seed=0):
    """Recordings with labels; sick ones have a faster wave, alarms and beats come regularly."""
    found = []
    for number, plain in enumerate(windows(subjects=subjects, seed=seed).recordings):
        sick = number % 2
        wave = 8 * np.sin(np.arange(120) / (1.2 if sick else 8.0))
        marks = [Span(60.0 * m, 60.0 * m, "NV"[i % 2]) for i, m in enumerate(range(10, 110, 9))]
        alarms = [Span(60.0 * m, 60.0 * m + 120, "alarm") for m in (45, 90)]
        labels = {"sick": sick, "old": int(number > 2), "kind": "abc"[number % 3]}
        found.append(
            replace(plain, values=plain.values + wave, labels=labels, spans=(*marks, *alarms))
        )
    return tuple(found)


def config(labels=SICK, **changes):
    return classify.Config(**{"context_s": 1920, "stride_s": 420, "labels": labels} | changes)


def small(task, adapters=(), train=None):
    """A tiny Chronos-Bolt with a linear head, untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return AdaptedModel(
            roughened(ChronosBolt.tiny()),
            adapters,
            setting=Setting(("HR", "MAP")),
            head=linear.Config(statistics=True).build(),
            outputs=task.outputs(RATE_HZ, train),
        )


class _Contract(TaskContract):
    def model(self):
        return small(self.config.build())

    @pytest.fixture
    def some(self, task):
        """The task's own windows."""
        return task.windows(recordings(), RATE_HZ, "test")

    def scored(self, task, predictor, some, batch_size=8):
        told = []
        decided = task.with_thresholds(predictor, some, batch_size)
        errors = task.scoring(RATE_HZ).errors(decided, some, batch_size, told.append)
        summary = (
            task.scoring(RATE_HZ).summary({"model": errors}, SCALE).model_dump(exclude_unset=True)
        )
        return json.loads(json.dumps(summary, allow_nan=False)), told

    def test_levels_increase_and_hold_the_median(self, task):
        """Classes have none."""
        assert task.levels == ()

    def test_predictions_have_the_tasks_levels_and_are_finite(self, task, predictor, some):
        """Probabilities, which add up to 1 where exactly one class holds."""
        probability = predictor.predict(some.gather(range(8)), 0)
        labelling = some.labelling
        assert probability.shape == (8, len(labelling.classes))
        assert ((probability >= 0) & (probability <= 1)).all()
        if not labelling.multilabel:
            np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)

    def test_windows_that_end_a_batch_early_are_scored_too(self, task, some):
        """Each batch as the predictor gets it, in order, none twice."""
        seen = []
        classes = len(some.labelling.classes)

        def predict(arrays, steps):
            seen.append(arrays)
            return np.full((len(arrays.subjects), classes), 0.5, dtype=np.float32)

        half = Predictor(predict, (), np.full(classes, 0.5))
        task.scoring(RATE_HZ).errors(half, some, 5, lambda _: None)
        every = some.gather(range(len(some)))
        np.testing.assert_array_equal(np.concatenate([a.values for a in seen]), every.values)

    def test_values_where_nothing_was_measured_cannot_change_a_score(self, task, predictor, some):
        """The predictor is given garbage there."""
        before, _ = self.scored(task, predictor, some)
        garbled = replace(
            predictor, predict=lambda arrays, steps: predictor.predict(with_garbage(arrays), steps)
        )
        after, _ = self.scored(task, garbled, some)
        assert after == before


class TestOneOfTwo(_Contract):
    config = config()


class TestOneOfThreeByRecording(_Contract):
    config = config(KIND, level="recording", metric="accuracy")


class TestAnyOfTwo(_Contract):
    config = config(ANY, class_weights="balanced")


class TestTheFuture(_Contract):
    config = config(SOON)


class TestEvents(_Contract):
    config = config(BEATS, context_s=900)


def test_a_recipe_without_a_head_is_told_which_heads_there_are():
    recipe = load_plain()
    with pytest.raises(RecipeError, match=r"add head: .*linear"):
        recipe.override({"task": config().model_dump(mode="json")})


def test_a_head_of_another_task_is_refused_by_both_names():
    with pytest.raises(RecipeError, match=r"linear is for task classify.* is forecast"):
        load_plain().override({"head": {"name": "linear"}})


def load_plain():
    from pathlib import Path

    return load(Path(__file__).parents[2] / "recipes" / "vitals_forecast.yaml")


def test_one_class_is_none_and_an_event_lies_inside_its_window():
    with pytest.raises(ValidationError, match="two classes"):
        config({"of": "event", "spans": {"N": "x", "V": "x"}, "before_s": 1})
    with pytest.raises(ValidationError, match="inside the window"):
        config(BEATS, context_s=240)
    with pytest.raises(ValidationError, match="level: recording needs one class"):
        config(SOON, level="recording")


def test_a_context_that_is_too_long_is_refused_with_the_longest():
    task = config(context_s=60 * 4096).build()
    with pytest.raises(RecipeError, match="4096 samples; chronos_bolt"):
        task.check(ChronosBolt.tiny().spec, RATE_HZ, headed=True)


def test_rare_classes_weigh_more_where_asked_for():
    task = config(class_weights="balanced").build()
    train = task.windows(recordings(subjects=5), RATE_HZ, "train")  # three well, two sick
    weights = task.outputs(RATE_HZ, train).class_weights
    np.testing.assert_allclose(weights, [5 / 6, 5 / 4])
    assert config().build().outputs(RATE_HZ, train).class_weights == ()
    assert task.outputs(RATE_HZ).class_weights == ()  # a trained model has learned already


def test_a_recording_is_scored_once_by_the_mean_of_its_windows():
    task = config(level="recording").build()
    some = task.windows(recordings(), RATE_HZ, "test")
    each = np.linspace(0.1, 0.9, len(some))

    def predict(arrays, steps):
        rows = [int(np.flatnonzero(np.isclose(starts, s))[0]) for s in arrays.values.sum((1, 2))]
        return np.stack([1 - each[rows], each[rows]], axis=1)

    starts = some.gather(range(len(some))).values.sum((1, 2))
    errors = task.scoring(RATE_HZ).errors(
        Predictor(predict, (), np.array([np.nan, 0.5])), some, 4, lambda _: None
    )
    assert errors.subjects == some.subject_names
    assert errors.n_windows == len(some)
    expected = [each[some.recording == r].mean() for r in range(6)]
    np.testing.assert_allclose(errors.probability[:, 1], expected)


def test_the_threshold_comes_from_validation_alone():
    task = config().build()
    val = task.windows(recordings(seed=1), RATE_HZ, "val")

    def predict(arrays, steps):
        sick = np.array([int(name[1:]) % 2 for name in arrays.subjects])
        second = np.where(sick, 0.09, 0.03)
        return np.stack([1 - second, second], axis=1)

    decided = task.with_thresholds(Predictor(predict, ()), val, 8)
    assert decided.thresholds[1] == pytest.approx(0.06)
    none = val.take([])
    assert task.with_thresholds(Predictor(predict, ()), none, 8).thresholds[1] == 0.5


@pytest.mark.parametrize("adapters", [0, 1], ids=["head alone", "with LoRA"])
def test_training_learns_what_tells_the_classes_apart(adapters, tmp_path):
    task = config().build()
    train = task.windows(recordings(subjects=8), RATE_HZ, "train")
    test = task.windows(recordings(subjects=6, seed=5), RATE_HZ, "test")
    model = small(task, [lora.Config(rank=2).build()] * adapters, train)
    fit_head(model, train, 8, Progress())
    before = {n: p.detach().clone() for n, p in model.network.named_parameters()}
    val = test.take([])
    training.fit(model, train, val, settings(steps=40, lr=3e-2), SEED, tmp_path, Progress())
    predictor = task.with_thresholds(task.predictor(model), train, 8)
    errors = task.scoring(RATE_HZ).errors(predictor, test, 8, lambda _: None)
    assert (
        task.scoring(RATE_HZ)
        .summary({"m": errors}, SCALE)
        .model_dump(exclude_unset=True)["models"]["m"]["overall"]["auroc"]
        > 0.8
    )
    changed = {n for n, p in model.network.named_parameters() if not torch.equal(p, before[n])}
    assert all("lora" in name for name in changed)
    assert bool(changed) == bool(adapters)


def test_predicting_needs_no_labels():
    task = config().build()
    bare = RecordingSet(tuple(replace(r, labels={}, spans=()) for r in recordings(2)))
    table = task.predict(task.predictor(small(task)), bare, ("bpm", "mmHg"), 8, None)
    assert {"subject", "recording", "p_well", "p_sick"} <= set(table.column_names)
    assert table.num_rows == 2 * len(range(0, 120 - 32 + 1, 7))
    more = task.predict(task.predictor(small(task)), bare, ("bpm", "mmHg"), 8, 60.0)
    assert more.num_rows == 2 * (120 - 32 + 1)
    events = config(BEATS, context_s=900).build()
    marked = RecordingSet(recordings(2))
    table = events.predict(events.predictor(small(events)), marked, ("bpm", "mmHg"), 8, None)
    assert table.num_rows == len(events.windows(marked.recordings, RATE_HZ, "test"))


def test_the_windows_are_those_with_a_class():
    task = config(SOON).build()
    some = task.windows(recordings(), RATE_HZ, "train")
    assert isinstance(some, LabelledWindows)
    assert set(some.labelling.classes) == {"no alarm", "alarm"}
    assert 0 < some.classes_of[:, 1].mean() < 1


def test_a_head_is_fitted_on_as_many_windows_as_fit_into_memory(monkeypatch):
    task = config().build()
    train = task.windows(recordings(subjects=8), RATE_HZ, "train")
    model = small(task)
    seen = []
    monkeypatch.setattr(model.head, "fit", lambda given: seen.append(given()))
    fit_head(model, train, 8, Progress(quiet=True))
    monkeypatch.setattr(building, "FITTED_BYTES", 10.5 * seen[0].features[0].nbytes)
    fit_head(model, train, 8, Progress(quiet=True))
    assert [len(found.features) for found in seen] == [len(train), 10]
    assert len(seen[1].classes) == len(seen[1].subjects) == 10
    assert len(set(seen[1].subjects)) == 8  # from all over the part


def test_windows_without_a_class_are_no_lack_of_length():
    """Recordings are as long as the context; what is asked of their future is not inside them."""
    labels = {"of": "future", "spans": ["hypotension"], "within_s": 36000}
    task = {"name": "classify", "context_s": 72000, "labels": labels}
    recipe = load_plain().override(
        {"task": task, "head": {"name": "probe"}, "adapters": [], "data.reader.subjects": 8}
    )
    with pytest.raises(DataError, match="none of their windows has a class"):
        prepare(recipe)
