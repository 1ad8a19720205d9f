import time

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import ValidationError

from contracts.reader import ReaderContract, same
from tsfm_adapt.signals.labels import FutureSpans, LabelledWindows
from tsfm_adapt.signals.readers.synthetic import COUPLINGS, Config
from tsfm_adapt.signals.windows import WindowSpec

FLAGSHIP = ("HR", "SpO2", "RESP", "MAP")


class TestSyntheticContract(ReaderContract):
    @pytest.fixture
    def config(self):
        return Config(subjects=3, hours=2)

    def test_a_missing_root_is_named(self):
        """Simulated, so there is no root."""
        with pytest.raises(ValidationError, match="root"):
            Config(root="absent")


def read(channels=(), **fields):
    return list(Config(**fields).read(channels))


@pytest.fixture(scope="module")
def cohort():
    """Complete series, zeros and spikes bridged: (subjects, C, T)."""
    series = np.stack([r.values for r in read(FLAGSHIP, subjects=40, missing=0)])
    level = np.median(series, axis=2, keepdims=True)
    odd = (series == 0) | (series > 1.7 * level)
    for values, hidden in zip(series.reshape(-1, 1440), odd.reshape(-1, 1440), strict=True):
        values[hidden] = np.interp(
            np.flatnonzero(hidden), np.flatnonzero(~hidden), values[~hidden]
        )
    return series


def test_it_says_that_it_is_synthetic():
    assert Config().synthetic
    assert "synthetic" in Config().name


def test_a_subject_does_not_depend_on_how_many_there_are():
    few, many = read(subjects=3, hours=3, seed=5), read(subjects=6, hours=3, seed=5)
    assert all(same(one, other) for one, other in zip(few, many[:3], strict=True))
    assert not same(few[0], read(subjects=1, hours=3, seed=6)[0])
    assert len({r.values.tobytes() for r in many}) == 6


def test_the_share_of_missing_values_leaves_the_others_unchanged():
    (whole,) = read(subjects=1, missing=0)
    (gappy,) = read(subjects=1, missing=0.3)
    assert not np.isnan(whole.values).any()
    seen = ~np.isnan(gappy.values)
    np.testing.assert_array_equal(gappy.values[seen], whole.values[seen])
    assert gappy.spans == whole.spans


@pytest.mark.parametrize("missing", [0.02, 0.3])
def test_drop_outs_are_stretches_of_the_stated_share(missing):
    hidden = np.isnan(np.concatenate([r.values for r in read(subjects=40, missing=missing)]))
    assert hidden.mean() == pytest.approx(missing, rel=0.1)
    ends = (hidden[:, :-1] & ~hidden[:, 1:]).sum()
    assert 5 < hidden.sum() / ends < 25  # minutes; 10 before merging


def test_values_are_plausible_where_the_sensor_is_on():
    recordings = read(subjects=40)
    assert recordings[0].channels == ("HR", "SpO2", "RESP", "MAP", "PULSE", "Temp")
    limits = {"HR": (40, 150), "SpO2": (75, 100), "RESP": (2, 35), "MAP": (30, 130)}
    limits |= {"PULSE": (40, 150), "Temp": (34, 40)}
    for index, (name, (low, high)) in enumerate(limits.items()):
        values = np.concatenate([r.values[index] for r in recordings])
        values = values[np.isfinite(values)]
        assert np.mean((values >= low) & (values <= high)) > 0.99, name
        off = np.mean(values == 0)
        assert off < 0.01 if name in ("HR", "PULSE", "SpO2") else off == 0, name
    assert any((r.values[0] == 0).any() for r in recordings)


def test_events_are_marked_inside_the_recording_and_can_be_seen():
    recordings = read(subjects=40, missing=0)
    spans = [(r, span) for r in recordings for span in r.spans]
    assert {span.label for _, span in spans} == {"hypoventilation", "hypotension", "deterioration"}
    assert all(0 <= s.start_s < s.stop_s <= r.duration_s for r, s in spans)
    falls = []
    for recording, span in spans:
        onset = int(span.start_s / 60)
        if span.label == "hypotension" and 30 < onset < 1400:
            pressure = recording.values[recording.channels.index("MAP")]
            before, during = pressure[onset - 20 : onset], pressure[onset + 8 : onset + 24]
            falls.append(np.median(before) - np.median(during))
    assert len(falls) > 100
    assert np.median(falls) == pytest.approx(11.4, abs=2.5)


def test_deterioration_is_five_minutes_of_low_pressure():
    lengths = []
    for recording in read(("MAP",), subjects=40, missing=0, seed=3):
        (pressure,) = recording.values
        inside = np.zeros(recording.samples, dtype=bool)
        for span in recording.spans:
            if span.label == "deterioration":
                first, stop = round(span.start_s / 60), round(span.stop_s / 60)
                inside[first:stop] = True
                lengths.append(stop - first)
        # The true pressure is lower inside; the monitor adds noise, rounds, and spikes once.
        assert (pressure[inside] <= 67).mean() > 0.99 if inside.any() else True
        missed = sliding_window_view((pressure < 63) & ~inside, 5).all(axis=1)
        assert not missed.any()
    assert min(lengths) >= 5
    assert len(lengths) > 60


def test_deterioration_can_be_foretold_from_what_was_measured_of_subjects_not_seen():
    """12 hours, whether one begins in the next 6; logistic regression on summary statistics."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    warning = FutureSpans(("deterioration",), 360, ("no", "yes"))
    windows = LabelledWindows(read(FLAGSHIP, subjects=120), WindowSpec(720, 0, 60), warning)
    batch = windows.gather(range(len(windows)))
    values = np.where(batch.observed & (batch.values != 0), batch.values, np.nan)
    mean = np.nanmean(values, axis=2, keepdims=True)
    statistics = [
        mean[..., 0],
        np.nanstd(values, axis=2),
        np.nanmean((values - mean) * np.linspace(-1, 1, 720), axis=2),
        np.nanmean((values - mean)[..., -60:], axis=2),
    ]
    features, yes = np.concatenate(statistics, axis=1), batch.target[:, 1] == 1
    assert 0.25 < yes.mean() < 0.45
    scores = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
        features,
        yes,
        groups=windows.subjects,
        cv=GroupKFold(6),
        method="decision_function",
    )
    assert roc_auc_score(yes, scores) > 0.68


@pytest.mark.parametrize("coupling", COUPLINGS, ids=lambda c: f"{c.driver}-{c.follower}")
def test_each_follower_answers_its_driver_at_the_documented_lag(cohort, coupling):
    change = np.diff(cohort, axis=2)
    driver = change[:, FLAGSHIP.index(coupling.driver)]
    follower = change[:, FLAGSHIP.index(coupling.follower)]
    correlation = [
        np.corrcoef(driver[:, : 1439 - lag].ravel(), follower[:, lag:].ravel())[0, 1]
        for lag in range(35)
    ]
    strongest = int(np.argmax(np.abs(correlation)))
    assert strongest * 60 == coupling.lag_s
    assert np.sign(correlation[strongest]) == np.sign(coupling.gain)
    assert abs(correlation[strongest]) > 5 * np.median(np.abs(correlation))


def test_other_channels_improve_the_forecast_of_subjects_not_seen(cohort):
    """30 minutes ahead; ridge on the last 90 minutes of one channel against all four."""
    context, horizon = 90, 30

    def windows(series, stride):
        view = sliding_window_view(series, context + horizon, axis=2)[:, :, ::stride]
        view = view.transpose(0, 2, 1, 3).reshape(-1, len(FLAGSHIP), context + horizon)
        mean = view[..., :context].mean(-1, keepdims=True)
        return view[..., :context] - mean, view[..., context:] - mean

    def ridge(past, future, new):
        gram = past.T @ past + 100 * np.eye(past.shape[1])
        return new @ np.linalg.solve(gram, past.T @ future)

    past, future = windows(cohort[:32], 13)
    new, truth = windows(cohort[32:], 30)
    scale = np.abs(np.diff(cohort[:32], axis=2)).mean((0, 2))

    def mase(predict):
        predicted = np.stack([predict(c) for c in range(len(FLAGSHIP))], axis=1)
        return float((np.abs(predicted - truth).mean((0, 2)) / scale).mean())

    joint = mase(
        lambda c: ridge(past.reshape(len(past), -1), future[:, c], new.reshape(len(new), -1))
    )
    alone = mase(lambda c: ridge(past[:, c], future[:, c], new[:, c]))
    mean = mase(lambda c: np.zeros_like(truth[:, c]))
    last = mase(lambda c: np.repeat(new[:, c, -1:], horizon, axis=1))
    assert joint < 0.75 * alone
    assert alone < 0.95 * min(mean, last)


def test_another_rate_keeps_lags_and_length_in_seconds():
    (recording,) = read(subjects=1, hours=1.5, rate_hz="1/30")
    assert (recording.rate_hz, recording.samples) == (1 / 30, 180)
    with pytest.raises(ValidationError, match="rate_hz"):
        Config(rate_hz="1/600")


def test_a_cohort_of_forty_days_is_simulated_in_no_time():
    read(subjects=1)  # scipy is imported on first use
    begin = time.perf_counter()
    assert len(read(subjects=40, hours=24)) == 40
    assert time.perf_counter() - begin < 2
