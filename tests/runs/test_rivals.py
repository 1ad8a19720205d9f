"""A run's model and its rivals, on the same windows."""

import numpy as np
import pytest

from contracts.small_recipe import prepared, recipe
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.evaluation.scores import Role
from tsfm_adapt.runs import rivals as module
from tsfm_adapt.training.building import build

QUIET = Progress(quiet=True)
SIMPLE = ["last_value", "mean_of_context", "mean_of_last_15", "ridge"]


def compared(without_baselines=False, **changes):
    made = recipe(**changes)
    context = module.ScoringContext.of(made, prepared(), smoke=False)
    model = build(made, prepared(), QUIET)
    return context, *module.rivals(context, model, QUIET, without_baselines)


def test_an_adapted_model_is_compared_with_zero_shot_and_every_baseline():
    context, main, others = compared()
    assert (main.name, main.role) == ("adapted", Role.ADAPTED)
    assert list(others) == ["zero_shot", *SIMPLE]
    roles = [Role.ZERO_SHOT] + [Role.BASELINE] * 4
    assert [(own.name, own.role) for own in others.values()] == list(
        zip(others, roles, strict=True)
    )
    for own in (main, *others.values()):
        assert own.test.origins_sha256() == context.test.origins_sha256()
        assert own.val.origins_sha256() == context.val.origins_sha256()


def test_a_recipe_that_adapts_nothing_is_zero_shot_itself():
    _, main, others = compared(adapters=[])
    assert (main.name, main.role) == ("zero_shot", Role.ZERO_SHOT)
    assert list(others) == SIMPLE


def test_without_baselines_the_model_stands_alone():
    _, main, others = compared(without_baselines=True)
    assert (main.role, others) == (Role.ADAPTED, {})


def test_baselines_learn_the_season_of_the_recipe():
    context = module.ScoringContext.of(
        recipe(**{"evaluate.season_s": 1200}), prepared(), smoke=False
    )
    assert set(module.baselines(context, QUIET)) - set(SIMPLE) == {"seasonal_naive"}


def test_predictions_are_kept_in_the_order_of_the_windows_beside_their_errors():
    context, _, others = compared()
    last, ticks = others["last_value"], []
    found = module.recorded(last, last.test, context, ticks.append)
    assert sum(ticks) == len(last.test)
    arrays = last.test.gather(range(len(last.test)))
    expected = last.predictor.predict(arrays, 16)
    np.testing.assert_array_equal(found.predictions, expected)
    errors = context.scoring.errors(last.predictor, last.test, 5, lambda _: None)
    np.testing.assert_allclose(found.errors.absolute, errors.absolute)


@pytest.mark.parametrize("smoke", [False, True])
def test_the_context_is_that_of_the_recipe(smoke):
    made = recipe()
    context = module.ScoringContext.of(made, prepared(), smoke)
    assert (context.recipe, context.smoke) == (made, smoke)
    assert context.batch_size == made.evaluate.batch_size
    assert context.scale.channels == ("HR", "MAP")
    assert (context.val, context.test) == (prepared().windows["val"], prepared().windows["test"])
