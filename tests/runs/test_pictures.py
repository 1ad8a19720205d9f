import numpy as np
import pytest
from matplotlib.image import imread

from tsfm_adapt.evaluation.forecast_errors import forecast_errors, summarise
from tsfm_adapt.evaluation.scores import Role, Scores
from tsfm_adapt.evaluation.tables import hidden, table, write
from tsfm_adapt.plots.gaps import gaps
from tsfm_adapt.runs.pictures import draw
from tsfm_adapt.signals.missingness import HiddenWindows, Missingness
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec
from tsfm_adapt.tasks import forecast, impute

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def windows():
    """Two subjects, two channels with gaps; the second subject never shows RESP."""
    rng = np.random.default_rng(5)
    recordings = []
    for subject in ("a", "b"):
        values = 50 + rng.normal(size=(2, 60)).cumsum(axis=1)
        values[:, 10:13] = np.nan
        if subject == "b":
            values[1] = np.nan
        recordings.append(
            Recording(subject, subject, values, ("HR", "RESP"), ("bpm", "1/min"), 1 / 60)
        )
    return Windows(recordings, WindowSpec(20, 10, 10))


def scored(models):
    """What pictures need of scores."""
    return Scores.model_construct(synthetic=True, models=models, metric="mase", better="lower")


def predicted(windows):
    """Quantiles (W, C, Q, H) around the last value."""
    arrays = windows.gather(np.arange(len(windows)))
    band = np.array([-1.0, 0.0, 1.0])[:, None] * np.arange(1, 11)
    return (arrays.values[..., -1:, None] + band).astype(np.float32), arrays


def test_a_channel_that_the_context_never_shows_has_no_forecast(windows):
    quantiles, _ = predicted(windows)
    rows = table(windows, quantiles, LEVELS, ("bpm", "1/min")).to_pandas()
    unseen = (rows.subject == "b") & (rows.channel == "RESP")
    assert rows.loc[unseen, ["q0.1", "q0.5", "q0.9"]].isna().all(axis=None)
    assert rows.loc[~unseen, ["q0.1", "q0.5", "q0.9"]].notna().all(axis=None)


def test_a_run_gets_four_pictures_that_show_something(tmp_path, windows):
    quantiles, arrays = predicted(windows)
    errors = forecast_errors(
        quantiles,
        LEVELS,
        arrays.target,
        arrays.target_observed,
        arrays.observed.any(-1),
        arrays.subjects,
    )
    model = summarise(errors, ("HR", "RESP"), ("bpm", "1/min"), np.ones(2))
    write(
        tmp_path / "predictions" / "test.parquet",
        table(windows, quantiles, LEVELS, ("bpm", "1/min")),
    )
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "val_loss": 2.0}\n{"step": 1, "loss": 1.5, "lr": 0.1}\n'
    )
    named = {"adapted": Role.ADAPTED, "zero_shot": Role.ZERO_SHOT, "ridge": Role.BASELINE}
    models = {name: model.model_copy(update={"role": role}) for name, role in named.items()}
    task = forecast.Config(context_s=1200, horizon_s=600).build()
    draw(tmp_path, task, windows, ("bpm", "1/min"), scored(models))
    pictures = sorted((tmp_path / "plots").iterdir())
    assert [path.stem for path in pictures] == [
        "calibration",
        "forecasts",
        "learning_curve",
        "skill_by_lead_time",
    ]
    for path in pictures:
        assert imread(path).std() > 0.05, f"{path.stem} is blank"


def test_a_run_that_fills_gaps_shows_them_and_no_lead_time(windows, tmp_path):
    masks = [Missingness("block", 0.2, 4)]
    some = HiddenWindows(windows.recordings, WindowSpec(20, 0, 10), masks)
    arrays = some.gather(range(len(some)))
    band = np.array([-1.0, 0.0, 1.0], dtype=np.float32)[:, None]
    rows = hidden(some, arrays.target[:, :, None] + band, LEVELS, ("bpm", "1/min"))
    write(tmp_path / "predictions" / "test.parquet", rows)
    hiding = {"pattern": "block", "rate": 0.2, "lengths_s": [240]}
    task = impute.Config(context_s=1200, missingness=[hiding]).build()
    draw(tmp_path, task, some, ("bpm", "1/min"), scored({}))
    drawn = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert drawn == {"gaps", "calibration"}
    assert imread(tmp_path / "plots" / "gaps.png").std() > 0.01
    figure = gaps(some, ("bpm", "1/min"), rows, "test set")
    panel = figure.axes[0]
    count = arrays.target_observed[0, 0].sum()
    assert count > 0
    assert len(panel.lines[1].get_xdata()) == count
    np.testing.assert_array_equal(
        panel.lines[1].get_ydata(), arrays.target[0, 0][arrays.target_observed[0, 0]]
    )
