from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from contracts.batch import roughened
from contracts.hiding import BLOCKS, POINTS, config
from contracts.small_run import model, settings, windows
from contracts.task import RATE_HZ, TaskContract
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.batches import collate
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.signals.missingness import Missingness
from tsfm_adapt.signals.recording import Recording, RecordingSet
from tsfm_adapt.signals.windows import WindowSpec
from tsfm_adapt.tasks.forecast import Config as Forecast


def moment(adapters=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        adapters = [lora.Config(rank=2).build()] if adapters is None else adapters
        return AdaptedModel(roughened(Moment.tiny()), adapters)


class _Contract(TaskContract):
    @pytest.fixture
    def some(self, task):
        """The task's own windows, values hidden."""
        return task.windows(windows().recordings, RATE_HZ, "test")


class TestImpute(_Contract):
    config = config(mask_seeds=2)


class TestImputeOfPointsAtTheMedian(_Contract):
    config = config(missingness=[POINTS], quantiles=(0.5,), min_context=20)


class TestImputeNatively(_Contract):
    config = config(missingness=[POINTS, BLOCKS], route="native")

    @pytest.fixture
    def predictor(self, task):
        return task.predictor(moment())

    def test_a_tiny_backbone_passes_the_check(self, task):
        task.check(moment().backbone.spec, RATE_HZ)

    def test_predicting_leaves_no_gradient(self, task, some):
        adapted = moment()
        task.predictor(adapted).predict(some.gather(range(8)), some.spec.context)
        assert all(p.grad is None for p in adapted.parameters())
        assert torch.is_grad_enabled()


def test_windows_have_no_horizon_and_come_under_every_mask():
    task = config(missingness=[BLOCKS, POINTS], mask_seeds=2, stride_s=None).build()
    assert task.window(RATE_HZ, "train") == WindowSpec(32, 0, 1, 1)
    assert task.window(RATE_HZ, "test") == WindowSpec(32, 0, 32, 1)
    some = task.windows(windows().recordings, RATE_HZ, "test")
    assert some.masks == (
        Missingness("block", 0.25, 1, 0),
        Missingness("block", 0.25, 1, 1),
        Missingness("block", 0.25, 4, 0),
        Missingness("block", 0.25, 4, 1),
        Missingness("point", 0.2, 1, 0),
        Missingness("point", 0.2, 1, 1),
    )
    assert len(some) == 3 * 3 * 6  # subjects, windows, masks


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"missingness": []}, "missingness"),
        ({"missingness": [{"pattern": "block"}]}, "lengths_s are for block"),
        ({"missingness": [{"pattern": "point", "lengths_s": (60,)}]}, "lengths_s are for block"),
        ({"missingness": [BLOCKS | {"lengths_s": (0,)}]}, "positive"),
        ({"missingness": [BLOCKS | {"rate": 1.0}]}, "rate"),
        ({"missingness": [BLOCKS, BLOCKS]}, "stands once"),
        ({"missingness": [{"pattern": "channel"}]}, "use min_context: 0"),
        ({"missingness": [{"pattern": "holes"}]}, "pattern"),
        ({"mask_seeds": 0}, "mask_seeds"),
        ({"route": "sideways"}, "route"),
        ({"quantiles": (0.1, 0.9)}, "include 0.5"),
        ({"quantiles": (0.5, 0.1)}, "increase"),
        ({"min_context": -1}, "min_context"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        config(**changes)


def test_gaps_that_find_no_room_are_refused_with_what_was_found():
    task = config(missingness=[BLOCKS | {"lengths_s": (1860,)}]).build()
    with pytest.raises(RecipeError, match=r"1 of 31 samples \(block, rate 0.25\).* of the 32 of"):
        task.window(RATE_HZ, "train")


def test_a_gap_of_no_whole_samples_is_refused():
    with pytest.raises(RecipeError, match=r"task\.missingness\.lengths_s: 90 s at"):
        config(missingness=[BLOCKS | {"lengths_s": (90,)}]).build().window(RATE_HZ, "test")


def test_a_backbone_that_cannot_take_the_route_is_refused():
    spec = model().backbone.spec
    with pytest.raises(
        RecipeError, match=r"route: native needs .* impute; chronos2 has: forecast"
    ):
        config(route="native").build().check(spec, RATE_HZ)
    with pytest.raises(RecipeError, match="two_sided needs a head pretrained for forecast"):
        config(route="two_sided").build().check(
            replace(spec, native_tasks=frozenset({"impute"})), RATE_HZ
        )
    with pytest.raises(RecipeError, match=r"257 samples; chronos2 \(tiny\) accepts 256"):
        config(context_s=15420).build().check(spec, RATE_HZ)


def test_auto_is_native_where_the_backbone_has_it_and_two_sided_elsewhere():
    def predicted(route, adapted):
        task = config(route=route).build()
        some = task.windows(windows().recordings, RATE_HZ, "test")
        return task.predictor(adapted).predict(some.gather(range(6)), 32)

    reconstructing = moment()
    native, two_sided = (predicted(r, reconstructing) for r in ("native", "two_sided"))
    np.testing.assert_array_equal(predicted("auto", reconstructing), native)
    assert np.abs(native - two_sided).max() > 0.01
    forecasting = model()
    np.testing.assert_array_equal(
        predicted("auto", forecasting), predicted("two_sided", forecasting)
    )


@pytest.mark.parametrize("build", [model, moment])
def test_hidden_values_cannot_change_a_prediction_or_a_measured_value(build):
    task = config(missingness=[POINTS, BLOCKS]).build()
    predictor = task.predictor(build())
    some = task.windows(windows().recordings, RATE_HZ, "test")
    arrays = some.gather(range(9))
    assert arrays.target_observed.any()
    expected = predictor.predict(arrays, 32)
    secret = replace(
        arrays,
        values=np.where(arrays.target_observed, 1e6, arrays.values).astype(np.float32),
        target=np.where(arrays.target_observed, -1e6, arrays.target).astype(np.float32),
    )
    np.testing.assert_array_equal(predictor.predict(secret, 32), expected)
    visible = np.broadcast_to(arrays.observed[:, :, None], expected.shape)
    shown = np.broadcast_to(arrays.values[:, :, None], expected.shape)
    np.testing.assert_array_equal(expected[visible], shown[visible])


@pytest.mark.parametrize("build", [model, moment])
def test_the_loss_learns_from_hidden_and_measured_values_only(build):
    task = config(missingness=[BLOCKS]).build()
    adapted = build()
    adapted._estimate = task.estimate()
    arrays = task.windows(windows().recordings, RATE_HZ, "train").gather([4, 5])
    batch = collate(arrays)
    loss = adapted(batch)
    elsewhere = replace(batch, target=batch.target.where(batch.target_observed, 1e6))
    assert torch.equal(adapted(elsewhere), loss)
    moved = replace(batch, target=batch.target + 100.0)
    assert adapted(moved) > loss + 1
    unhidden = replace(batch, target_observed=torch.zeros_like(batch.target_observed))
    assert adapted(unhidden) == 0


def test_a_native_loss_is_in_units_of_the_visible_deviation():
    task = config(missingness=[BLOCKS]).build()
    adapted = moment()
    adapted._estimate = task.estimate()
    arrays = task.windows(windows().recordings, RATE_HZ, "train").gather([4, 5, 6])
    batch = collate(arrays)
    scaled = replace(batch, values=7 * batch.values, target=7 * batch.target)
    assert adapted(scaled).item() == pytest.approx(adapted(batch).item(), rel=1e-4)


@pytest.mark.parametrize("build", [model, moment])
def test_training_lowers_the_loss(build, tmp_path):
    from tsfm_adapt.training.loop import fit

    task = config(missingness=[BLOCKS]).build()
    adapted = build()
    adapted._estimate = task.estimate()
    parts = [task.windows(windows(seed=s).recordings, RATE_HZ, "test") for s in (0, 1)]
    fitted = fit(adapted, *parts, settings(steps=16), 11, tmp_path, Progress(quiet=True))
    assert fitted.best_step > 0


def test_every_model_is_scored_on_the_same_values():
    task = config(mask_seeds=2).build()
    some = task.windows(windows().recordings, RATE_HZ, "test")
    baselines = task.baselines(windows(seed=5).recordings, RATE_HZ, None)
    assert list(baselines) == ["linear", "carry_forward", "mean_of_window", "ridge"]
    errors = [
        task.scoring(RATE_HZ).errors(predictor, some, size, lambda _: None)
        for size, predictor in enumerate([*baselines.values(), task.predictor(model())], 5)
    ]
    for each in errors[1:]:
        np.testing.assert_array_equal(each.scored, errors[0].scored)
        np.testing.assert_array_equal(each.target, errors[0].target)
    assert errors[0].scored.any()


@pytest.mark.parametrize("build", [model, moment])
def test_a_channel_that_is_hidden_whole_has_its_mean_whatever_the_model(build):
    task = config(missingness=[{"pattern": "channel", "rate": 0.5}], min_context=0).build()
    fit = windows(seed=5).recordings
    some = task.windows(windows().recordings, RATE_HZ, "test")
    arrays = some.gather(range(5))
    predicted = task.with_fallback(task.predictor(build()), fit).predict(arrays, 32)
    none = ~arrays.observed.any(-1)
    assert none.sum() == 5
    level = [np.nanmean(np.concatenate([r.values[c] for r in fit])) for c in range(2)]
    expected = np.broadcast_to(np.array(level, dtype=np.float32)[:, None, None], (5, 2, 3, 32))
    np.testing.assert_allclose(predicted[none], expected[none], rtol=1e-5)
    errors = task.scoring(RATE_HZ).errors(
        Predictor(lambda *_: predicted, task.levels), some.take(range(5)), 5, print
    )
    assert (errors.scored.any(-1) == none).all()


def recordings(samples=75):
    rng = np.random.default_rng(4)
    found = []
    for number, length in enumerate((samples, 20, samples + 9)):
        values = 80 + rng.normal(size=(2, length)).cumsum(1)
        values[rng.random(values.shape) < 0.2] = np.nan
        start = np.datetime64("2896-10-10T00:00:00") if number else None
        names, units = ("HR", "MAP"), ("bpm", "mmHg")
        found.append(Recording(f"r{number}", f"p{number}", values, names, units, RATE_HZ, start))
    return RecordingSet(tuple(found))


def test_a_recording_is_filled_whole_and_what_was_measured_is_untouched():
    task, some = config().build(), recordings()
    table = task.predict(task.predictor(model()), some, ("bpm", "mmHg"), 4, None).to_pandas()
    assert table["recording"].unique().tolist() == ["r0", "r2"]  # r1 is shorter than a window
    for recording in (some.recordings[0], some.recordings[2]):
        of = table[table["recording"] == recording.id]
        measured = np.isfinite(recording.values).ravel()
        assert of["channel"].tolist() == ["HR"] * recording.samples + ["MAP"] * recording.samples
        np.testing.assert_array_equal(of["measured"], measured)
        np.testing.assert_array_equal(of["value"][measured], recording.values.ravel()[measured])
        assert of["value"].notna().all()
        assert of["q0.1"].notna().tolist() == (~measured).tolist()
        np.testing.assert_array_equal(of["value"][~measured], of["q0.5"][~measured])
        np.testing.assert_allclose(
            of["time_s"][: recording.samples], np.arange(0, 60.0 * recording.samples, 60)
        )
    assert table["time"].isna().sum() == 2 * 75


def test_a_gap_longer_than_a_window_stays_empty_in_its_middle():
    some = recordings()
    values = some.recordings[0].values.copy()
    values[0] = 80.0
    values[0, 10:70] = np.nan
    one = RecordingSet((replace(some.recordings[0], values=values),))
    task = config().build()
    table = task.predict(task.predictor(model()), one, ("bpm", "mmHg"), 4, None).to_pandas()
    empty = table["value"].isna().to_numpy()
    assert empty.any()
    assert not empty[75:].any()
    assert set(np.flatnonzero(empty)) <= set(range(10, 70))


@pytest.mark.parametrize("length", [0, 20, 60])
def test_remarks_count_what_was_filled_and_what_lies_in_gaps_longer_than_the_window(length):
    some = recordings()
    values = np.full((2, 75), 80.0)
    values[0, 10 : 10 + length] = np.nan
    values[1, 30] = np.nan
    one = RecordingSet((replace(some.recordings[0], values=values),))
    task = config().build()  # of 32 samples
    table = task.predict(task.predictor(model()), one, ("bpm", "mmHg"), 4, None)
    empty = int(np.isnan(table["value"].to_numpy()).sum())
    assert (empty > 0) == (length == 60)
    first, *others = task.remarks(table, RATE_HZ)
    assert first == f"filled {length + 1 - empty} of {length + 1} missing values"
    long = (
        f"{empty} lie in gaps as long as the window or longer (32 min): raise task.context_s, and "
        "train again"
    )
    assert others == ([long] if empty else [])


def test_remarks_tell_channels_that_are_never_measured_and_recordings_without_gaps():
    some = recordings()
    values = np.full((2, 75), 80.0)
    task = config().build()

    def remarks(values):
        one = RecordingSet((replace(some.recordings[0], values=values),))
        table = task.predict(task.predictor(model()), one, ("bpm", "mmHg"), 4, None)
        return task.remarks(table, RATE_HZ)

    assert remarks(values) == ["no value was missing"]
    values[1] = np.nan
    assert remarks(values) == [
        "filled 0 of 75 missing values",
        "75 are of channels that their recording never measures",
    ]


def test_remarks_of_several_recordings_keep_their_gaps_apart():
    some = recordings()
    values = np.full((2, 75), 80.0)
    values[:, :20] = np.nan  # behind the end of the channel or recording before
    values[:, -20:] = np.nan  # 40 in a row where they were one, longer than a window
    two = RecordingSet(tuple(replace(some.recordings[n], values=values) for n in (0, 2)))
    task = config().build()
    table = task.predict(task.predictor(model()), two, ("bpm", "mmHg"), 4, None)
    assert task.remarks(table, RATE_HZ) == ["filled 160 of 160 missing values"]


def test_a_value_whose_windows_show_too_little_is_told_apart_from_a_long_gap():
    some = recordings()
    values = np.full((2, 75), 80.0)
    values[0, ::2] = np.nan
    one = RecordingSet((replace(some.recordings[0], values=values),))
    task = config(min_context=20).build()
    table = task.predict(task.predictor(model()), one, ("bpm", "mmHg"), 4, None)
    assert task.remarks(table, RATE_HZ) == [
        "filled 0 of 38 missing values",
        "38 lie in windows that show too few values of their channel: lower task.min_context, "
        "or raise task.context_s",
    ]


def test_a_time_between_forecasts_is_refused():
    task = config().build()
    with pytest.raises(RecipeError, match="fills all of them"):
        task.predict(task.predictor(model()), recordings(), ("bpm", "mmHg"), 4, 600.0)


def test_the_table_has_a_row_for_every_hidden_value():
    task = config(missingness=[BLOCKS, POINTS]).build()
    some = task.windows(windows().recordings, RATE_HZ, "test").take(range(7))
    arrays = some.gather(range(7))
    quantiles = task.predictor(model()).predict(arrays, 32)
    table = task.table(some, quantiles, ("bpm", "mmHg")).to_pandas()
    assert len(table) == arrays.target_observed.sum()
    np.testing.assert_array_equal(table["measured"], arrays.target[arrays.target_observed])
    expected = np.moveaxis(quantiles, 2, -1)[arrays.target_observed]
    np.testing.assert_array_equal(table[["q0.1", "q0.5", "q0.9"]], expected)
    row = table.iloc[0]
    recording = some.recordings[0]
    at = round(row["time_s"] * RATE_HZ)
    channel = recording.channels.index(row["channel"])
    assert row["measured"] == np.float32(recording.values[channel, at])
    assert sorted(table["mask"].unique()) == [0, 1, 2]


def test_a_forecast_still_has_no_estimate_of_its_own():
    assert Forecast(context_s=1920, horizon_s=720).build().estimate() is None
