from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.small_run import model, windows
from contracts.task import RATE_HZ, TaskContract
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.base import Predictor, Scale
from tsfm_adapt.signals.windows import WindowSpec
from tsfm_adapt.tasks import forecast


def config(**changes):
    return forecast.Config(**{"context_s": 1920, "horizon_s": 720} | changes)


class TestForecast(TaskContract):
    config = config(horizons_s=(300, 720))


class TestForecastThatWarns(TaskContract):
    config = config(
        events={
            "low": forecast.Crossing(channel="MAP", below=112, for_s=120),
            "fast": forecast.Crossing(channel="HR", above=88),
        }
    )


class TestForecastOfOneStepAtTheMedian(TaskContract):
    config = config(horizon_s=60, quantiles=(0.5,), min_context=20, stride_s=120)


def test_windows_are_counted_in_samples_and_strided_apart_from_training():
    task = config().build()
    assert task.window(RATE_HZ, "train") == WindowSpec(32, 12, 1, 1)
    assert task.window(RATE_HZ, "test") == WindowSpec(32, 12, 12, 1)
    strided = config(stride_s=300, min_context=4).build()
    assert strided.window(RATE_HZ, "val") == WindowSpec(32, 12, 5, 4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"quantiles": (0.1, 0.9)}, "include 0.5"),
        ({"quantiles": (0.5, 0.1)}, "increase"),
        ({"quantiles": (0.1, 0.5, 0.5)}, "do not repeat"),
        ({"quantiles": (0.0, 0.5)}, "between 0 and 1"),
        ({"quantiles": ()}, "at least 1 item"),
        ({"horizons_s": (1500,)}, "lie within horizon_s = 720"),
        ({"horizons_s": (0,)}, "lie within"),
        ({"context_s": 0}, "context_s"),
        ({"min_context": 0}, "min_context"),
        ({"events": {"low": {"channel": "MAP"}}}, "one limit, below or above"),
        ({"events": {"low": {"channel": "MAP", "below": 1, "above": 2}}}, "one limit"),
        (
            {"events": {"low": {"channel": "MAP", "below": 65}}, "false_alarms_a_day": (1, 120)},
            "between 0 and 120",
        ),
        ({"false_alarms_a_day": ()}, "at least 1 item"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        config(**changes)


def test_a_context_that_the_backbone_cannot_take_is_refused_with_the_longest_it_can():
    """The tiny Chronos-2 takes 256 samples, 15360 s at one a minute."""
    spec = model().backbone.spec
    config(context_s=15360).build().check(spec, RATE_HZ)
    with pytest.raises(RecipeError, match=r"257 samples; chronos2 \(tiny\) accepts 256.*<= 15360"):
        config(context_s=15420).build().check(spec, RATE_HZ)


def test_a_backbone_without_a_forecast_head_is_refused():
    spec = replace(model().backbone.spec, native_tasks=frozenset({"impute"}))
    with pytest.raises(RecipeError, match=r"no pretrained head for forecast. It has: impute"):
        config().build().check(spec, RATE_HZ)


def test_an_event_of_a_channel_that_there_is_not_is_refused_with_the_closest():
    task = config(events={"low": {"channel": "MAPP", "below": 65}}).build()
    task.check_channels(("HR", "MAPP"))
    with pytest.raises(RecipeError, match=r"task.events.low.*no 'MAPP'. Did you mean 'MAP'"):
        task.check_channels(("HR", "MAP"))


def test_an_event_of_no_whole_number_of_samples_is_refused():
    task = config(events={"low": {"channel": "MAP", "below": 65, "for_s": 90}}).build()
    with pytest.raises(RecipeError, match=r"task.events.low.for_s: 90 s"):
        task.window(RATE_HZ, "test")


def test_forecasts_score_the_same_with_and_without_events():
    def foreseen(arrays, steps):  # what is not measured is far from the limit
        return np.where(arrays.target_observed[:, :, None], exact(arrays, steps), 500.0)

    warned = summary_of(foreseen, events={"low": {"channel": "MAP", "below": 112}})
    assert warned["events"]["low"]["models"]["model"]["auroc"] == 1.0
    plain = summary_of(foreseen)
    assert warned["models"] == plain["models"]
    assert plain["events"] == {}


def exact(arrays, steps):
    """The future itself."""
    return arrays.target[:, :, None, :steps]


def summary_of(predict, levels=(0.5,), **changes):
    task = config(**changes).build()
    errors = task.scoring(RATE_HZ).errors(
        Predictor(predict, levels), windows(stride=7), 8, lambda _: None
    )
    scale = Scale(("HR", "MAP"), ("bpm", "mmHg"), np.array([0.5, 2.0]))
    return task.scoring(RATE_HZ).summary({"model": errors}, scale).model_dump(exclude_unset=True)


def test_the_future_itself_scores_zero():
    overall = summary_of(exact)["models"]["model"]["overall"]
    assert overall["mase"] == overall["wql"] == 0


def test_an_error_of_one_unit_has_the_mase_of_one_over_the_scale():
    """Channels weigh the same: the mean of 1 / 0.5 and 1 / 2.0."""
    scores = summary_of(lambda arrays, steps: exact(arrays, steps) + 1)["models"]["model"]
    assert scores["channels"]["HR"]["mae"] == pytest.approx(1, rel=1e-5)
    assert scores["channels"]["HR"]["mase"] == pytest.approx(2, rel=1e-5)
    assert scores["channels"]["MAP"]["mase"] == pytest.approx(0.5, rel=1e-5)
    assert scores["overall"]["mase"] == pytest.approx(1.25, rel=1e-5)


def test_a_shorter_horizon_pools_the_steps_up_to_it():
    """Step k is wrong by k: the mean over 5 steps is 3, over 12 steps 6.5."""

    def drifting(arrays, steps):
        return exact(arrays, steps) + np.arange(1, steps + 1, dtype=np.float32)

    scores = summary_of(drifting, horizons_s=(60, 300, 720))
    maes = {
        seconds: models["model"]["channels"]["HR"]["mae"]
        for seconds, models in scores["horizons"].items()
    }
    assert list(maes) == ["60", "300", "720"]
    assert maes["60"] == pytest.approx(1, rel=1e-5)
    assert maes["300"] == pytest.approx(3, rel=0.1)  # gaps take a few targets away
    assert maes["720"] == pytest.approx(6.5, rel=0.1)
    assert scores["models"]["model"]["channels"]["HR"]["mae"] == maes["720"]


def test_contexts_with_too_few_values_are_not_scored():
    """Every other value of HR is lost, so a context of 32 holds 16 at most."""
    some = windows(stride=7)
    kept = [replace(r, values=r.values.copy()) for r in some.recordings]
    for recording in kept:
        recording.values[0, ::2] = np.nan
    sparse = type(some)(kept, some.spec)

    def count(min_context):
        task = config(min_context=min_context).build()
        errors = task.scoring(RATE_HZ).errors(Predictor(exact, (0.5,)), sparse, 8, lambda _: None)
        return errors.scored.any(-1).sum(0).tolist()

    assert count(1) == [len(sparse), len(sparse)]
    assert count(17) == [0, len(sparse)]


def test_predictions_beyond_one_pass_of_the_model_have_every_step():
    """Tiny Chronos-2 predicts 64 steps a pass."""
    arrays = windows(stride=7).gather(range(2))
    predicted = config().build().predictor(model()).predict(arrays, 150)
    assert predicted.shape == (2, 2, 3, 150)
    assert np.isfinite(predicted).all()
    np.testing.assert_array_equal(
        predicted[..., :60], config().build().predictor(model()).predict(arrays, 60)
    )
