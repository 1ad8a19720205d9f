"""What every task guarantees, as tests to inherit.

A newcomer writes::

    class TestNewcomer(TaskContract):
        config = newcomer.Config(context_s=1920, ...)    # 32 samples at 1/60 Hz

and overrides a test only where the task differs by design, with the reason.
"""

import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from contracts.batch import GARBAGE
from contracts.small_run import model, windows
from tsfm_adapt.components import component, config_class
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.base import Predictor, Scale
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.tasks.base import TaskConfig

RATE_HZ = 1 / 60
BATCH = 8


def steps_of(windows):
    """How many samples the target has: the horizon, else the whole window."""
    return windows.spec.horizon or windows.spec.context


def with_garbage(arrays, seed=0):
    """The same measurements; arbitrary finite numbers wherever nothing was measured."""
    generator = np.random.default_rng(seed)

    def fill(values, observed):
        picked = generator.choice(np.array(GARBAGE, dtype=np.float32), values.shape)
        return np.where(observed, values, picked)

    return replace(
        arrays,
        values=fill(arrays.values, arrays.observed),
        target=fill(arrays.target, arrays.target_observed),
    )


class TaskContract:
    """Inherit, set `config`, receive every law."""

    config: ClassVar[TaskConfig]

    def model(self):
        """A tiny model that can do the task."""
        return model()

    @pytest.fixture
    def task(self):
        return self.config.build()

    @pytest.fixture
    def some(self, task):
        """Windows of three subjects in the task's own geometry, some values missing."""
        return Windows(windows().recordings, replace(task.window(RATE_HZ, "test"), stride=7))

    @pytest.fixture
    def predictor(self, task):
        return task.predictor(self.model())

    def scored(self, task, predictor, some, batch_size=BATCH):
        """The summary, as scores.json would hold it, and how many windows were told."""
        told = []
        errors = task.scoring(RATE_HZ).errors(predictor, some, batch_size, told.append)
        scale = Scale(("HR", "MAP"), ("bpm", "mmHg"), np.array([0.5, 2.0]))
        summary = (
            task.scoring(RATE_HZ).summary({"model": errors}, scale).model_dump(exclude_unset=True)
        )
        return json.loads(json.dumps(summary, allow_nan=False)), told

    def test_the_config_is_found_by_its_name(self, task):
        assert config_class("task", self.config.name) is type(self.config)
        assert component("task", self.config.name).summary
        assert task.name == self.config.name

    def test_a_config_knows_all_its_keys_and_cannot_be_changed(self):
        with pytest.raises(ValidationError, match="nonsense"):
            type(self.config)(**self.config.model_dump(), nonsense=1)
        with pytest.raises(ValidationError, match="frozen"):
            self.config.name = "other"

    def test_the_same_config_builds_the_same_task(self):
        again = type(self.config).model_validate(self.config.model_dump(mode="json"))
        assert vars(again.build()) == vars(self.config.build())

    def test_levels_increase_and_hold_the_median(self, task):
        assert list(task.levels) == sorted(set(task.levels))
        assert 0.5 in task.levels
        assert 0 < min(task.levels) <= max(task.levels) < 1

    def test_windows_have_one_geometry_in_all_parts(self, task):
        specs = [task.window(RATE_HZ, part) for part in ("train", "val", "test")]
        assert len({(spec.context, spec.horizon, spec.min_context) for spec in specs}) == 1
        assert specs[1] == specs[2]
        assert specs[0].stride <= specs[1].stride

    def test_a_duration_that_is_no_whole_number_of_samples_is_refused(self, task):
        with pytest.raises(RecipeError, match=r"task\.\w+_s: .* is .* samples, but it must be"):
            task.window(RATE_HZ * 1.0371, "train")

    def test_a_tiny_backbone_passes_the_check(self, task):
        adapted = self.model()
        task.check(adapted.backbone.spec, RATE_HZ, headed=adapted.head is not None)

    def test_predictions_have_the_tasks_levels_and_are_finite(self, task, predictor, some):
        arrays = some.gather(range(BATCH))
        predicted = predictor.predict(arrays, steps_of(some))
        assert predictor.levels == task.levels
        assert predicted.shape == (BATCH, 2, len(task.levels), steps_of(some))
        assert predicted.dtype == np.float32
        assert np.isfinite(predicted).all()

    def test_predictions_repeat_and_do_not_depend_on_the_other_windows(self, predictor, some):
        arrays = some.gather(range(BATCH))
        whole = predictor.predict(arrays, steps_of(some))
        np.testing.assert_array_equal(predictor.predict(arrays, steps_of(some)), whole)
        alone = predictor.predict(some.gather([3]), steps_of(some))
        np.testing.assert_allclose(alone[0], whole[3], rtol=1e-4, atol=1e-4)

    def test_predictions_do_not_look_at_the_target_or_at_what_was_not_measured(
        self, predictor, some
    ):
        arrays = some.gather(range(BATCH))
        assert not arrays.observed.all()
        expected = predictor.predict(arrays, steps_of(some))
        altered = with_garbage(replace(arrays, target=arrays.target[::-1].copy()))
        np.testing.assert_array_equal(predictor.predict(altered, steps_of(some)), expected)

    def test_predicting_leaves_no_gradient(self, task, some):
        adapted = self.model()
        task.predictor(adapted).predict(some.gather(range(BATCH)), steps_of(some))
        assert all(p.grad is None for p in adapted.parameters())
        assert torch.is_grad_enabled()

    def test_scores_do_not_depend_on_the_batch_size(self, task, predictor, some):
        whole, told = self.scored(task, predictor, some, batch_size=len(some))
        assert told == [len(some)]
        parts, told = self.scored(task, predictor, some, batch_size=5)
        assert sum(told) == len(some)
        assert max(told) == 5
        assert _near(parts, whole)

    def test_windows_that_end_a_batch_early_are_scored_too(self, task, some):
        """Each batch as the predictor gets it, in order, none twice."""
        seen = []

        def predict(arrays, steps):
            seen.append(arrays)
            return np.zeros((len(arrays.subjects), 2, 1, steps), dtype=np.float32)

        self.scored(task, Predictor(predict, (0.5,)), some, batch_size=5)
        assert [len(arrays.subjects) for arrays in seen[:-1]] == [5] * (len(seen) - 1)
        every = some.gather(range(len(some)))
        np.testing.assert_array_equal(np.concatenate([a.values for a in seen]), every.values)

    def test_values_where_nothing_was_measured_cannot_change_a_score(self, task, predictor, some):
        before, _ = self.scored(task, predictor, some)
        garbled = _Garbled(some)
        after, _ = self.scored(task, predictor, garbled)
        assert after == before


class _Garbled:
    """Windows that hand out garbage where nothing was measured."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __len__(self):
        return len(self._inner)

    def gather(self, indices):
        return with_garbage(self._inner.gather(indices))


def _near(one, other):
    """Equal structures, numbers to 1e-4."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_near(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_near, one, other))
    return one == (pytest.approx(other, rel=1e-4) if isinstance(other, float) else other)
