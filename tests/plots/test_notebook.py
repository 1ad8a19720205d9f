import numpy as np
import pandas
import pyarrow
import pytest

from tsfm_adapt import plots
from tsfm_adapt.adapters import channel_mixer
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.plots.attention import channel_attention
from tsfm_adapt.signals.recording import Recording, Span
from tsfm_adapt.signals.windows import Windows, WindowSpec

UNITS = ("bpm", "1/min")


def recording(samples=240, rate_hz=1 / 60, attributes=None):
    values = 60 + np.random.default_rng(3).normal(size=(2, samples)).cumsum(axis=1)
    values[1, 100:130] = np.nan
    return Recording(
        "stay", "p1", values, ("HR", "RESP"), UNITS, rate_hz, None,
        (Span(600.0, 1200.0, "asleep"), Span(3000.0, 3600.0, "asleep")), attributes or {},
    )  # fmt: skip


def forecasts(origins_s, steps=30, value=60.0):
    rows = [
        {"recording": "stay", "origin_s": o, "time_s": o + 60.0 * k, "channel": c,
         "q0.1": value - 2, "q0.5": value, "q0.9": value + 2}
        for o in origins_s for c in ("HR", "RESP") for k in range(steps)
    ]  # fmt: skip
    return pandas.DataFrame(rows)


def lines(axis):
    return {line.get_label(): line for line in axis.get_lines()}


def test_a_recording_shows_its_gaps_its_units_and_what_is_marked():
    figure = plots.recording(recording())
    heart, breath = figure.axes
    assert [axis.get_ylabel() for axis in figure.axes] == ["HR, bpm", "RESP, 1/min"]
    assert breath.get_title(loc="right") == "12.5% not measured"
    (gap,) = [c for c in breath.collections if len(c.get_paths())]
    x = gap.get_paths()[0].vertices[:, 0] * 60  # minutes
    assert (x.min(), x.max()) == (99.5, 129.5)
    assert not heart.collections
    assert np.isnan(breath.get_lines()[0].get_ydata()).sum() == 30
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["asleep"]


def test_only_the_synthetic_is_called_synthetic():
    assert "SYNTHETIC" not in plots.recording(recording()).get_suptitle()
    told = plots.recording(recording(attributes={"synthetic": "yes"}))
    assert told.get_suptitle().endswith("(SYNTHETIC)")


def test_a_long_recording_keeps_its_extremes_and_its_gaps():
    values = np.zeros((1, 100_000))
    values[0, 77_777], values[0, 50_000:60_000] = 9.0, np.nan
    long = Recording("ecg", "p1", values, ("II",), ("mV",), 100.0)
    stretches = plots.recording(long).axes[0].collections[0].get_segments()
    drawn = np.concatenate(stretches)
    assert drawn[:, 1].max() == 9.0
    assert not ((drawn[:, 0] > 501 / 60) & (drawn[:, 0] < 599 / 60)).any()


def test_a_forecast_stands_where_it_begins_beside_what_came():
    figure = plots.forecast(recording(), {"a": forecasts([6000.0, 12000.0, 14400.0])})
    drawn = lines(figure.axes[0])
    ahead = drawn["a"].get_xdata()
    assert ahead[0] == 0  # the sample after the context's last
    measured = drawn["measured"]
    at = np.flatnonzero(np.isclose(measured.get_xdata(), 0))[0]
    # the latest origin whose future was measured, and not the recording's end
    assert measured.get_ydata()[at] == recording().values[0, 200]
    assert (drawn["a"].get_ydata() == 60).all()


def test_several_forecasts_share_an_origin():
    two = {"a": forecasts([6000.0, 12000.0]), "b": forecasts([6000.0], value=70.0)}
    figure = plots.forecast(recording(), two)
    assert {"a", "b"} <= lines(figure.axes[0]).keys()
    with pytest.raises(DataError, match="b has no forecast of 'stay' from 12000 s"):
        plots.forecast(recording(), two, origin_s=12000.0)
    with pytest.raises(DataError, match="no common forecast"):
        plots.forecast(recording(), {"a": forecasts([6000.0]).assign(recording="other")})


def filled(left=0):
    rows = []
    for number, channel in enumerate(("HR", "RESP")):
        for k, value in enumerate(recording().values[number]):
            gap = np.isnan(value)
            estimate = np.nan if gap and k >= 130 - left else 42.0
            row = {
                "recording": "stay",
                "time_s": 60.0 * k,
                "channel": channel,
                "measured": not gap,
            }
            row |= {"value": estimate if gap else value}
            row |= {f"q{q}": estimate + q if gap else np.nan for q in (0.1, 0.5, 0.9)}
            rows.append(row)
    return pandas.DataFrame(rows)


def test_only_gaps_are_filled():
    figure = plots.filled(recording(), filled(left=4))
    heart, breath = figure.axes
    assert len(lines(heart)["filled"].get_xdata()) == 0
    np.testing.assert_allclose(lines(breath)["filled"].get_xdata() * 60, range(100, 126))
    assert breath.get_title(loc="right") == "4 samples without an estimate"
    part = plots.filled(recording(), filled(), between_s=(6600.0, 9000.0)).axes[1]
    assert len(lines(part)["filled"].get_xdata()) == 20
    with pytest.raises(DataError, match="no filled gaps of 'stay'"):
        plots.filled(recording(), forecasts([0.0]))


def windows():
    return Windows([recording()], WindowSpec(64, 0, 32))


def test_attention_between_channels_sums_to_one_and_needs_measured_tokens():
    unseen = recording()
    unseen.values[1] = np.nan
    found = channel_attention(AdaptedModel(Chronos2.tiny()), windows())
    assert list(found) == ["block 0", "block 1"]
    for share in found.values():
        np.testing.assert_allclose(share.sum(1), 1, rtol=1e-5)
    dark = channel_attention(AdaptedModel(Chronos2.tiny()), Windows([unseen], WindowSpec(64, 0)))
    assert np.isnan(dark["block 0"][1]).all()
    assert np.isfinite(dark["block 0"][0]).all()


def test_what_a_model_attends_to_is_what_it_uses():
    """The mixer's attention, with its values, gives what the mixer adds."""
    import torch

    mixer = channel_mixer.Config(blocks="last", width=8, heads=1).build()
    mixer.attach(ChronosBolt.tiny(), Setting(("HR", "RESP")))
    (own,) = mixer.channel_attention().values()
    torch.nn.init.normal_(own.up.weight)
    tokens = torch.randn(2, 2, 5, ChronosBolt.tiny().spec.width)
    _, _, value = own._projected(tokens)
    mixed = own.attention(tokens) @ value[:, :, 0]  # one head
    torch.testing.assert_close(own.up(mixed).transpose(1, 2), own(tokens))


def test_group_attention_is_the_same_window_by_window_and_all_at_once():
    import torch

    from tsfm_adapt.batches import collate

    model = Chronos2.tiny()
    both = collate(windows().gather([0, 3]))
    one = collate(windows().gather([3]))
    with torch.inference_mode():
        together, alone = model.channel_attention(both), model.channel_attention(one)
    torch.testing.assert_close(together[:, 1:], alone)


def test_the_mixer_is_drawn_where_there_is_one_and_no_attention_is_invented():
    mixed = AdaptedModel(
        ChronosBolt.tiny(),
        [channel_mixer.Config(width=8, heads=2).build()],
        setting=Setting(("HR", "RESP")),
    )
    figure = plots.channel_attention(mixed, windows())
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "channel_mixer, before block 0"
    with pytest.raises(RecipeError, match="no channel attends to another"):
        plots.channel_attention(AdaptedModel(ChronosBolt.tiny()), windows())


def table(rows=12, synthetic="false"):
    rng = np.random.default_rng(0)
    line = np.outer(np.arange(rows), [3.0, 4.0, 0.0]) + 0.01 * rng.normal(size=(rows, 3))
    return pyarrow.table(
        {
            "subject": [f"p{number % 2}" for number in range(rows)],
            "origin_s": np.arange(rows, dtype=float),
            "channel": ["HR"] * (rows - 1) + ["RESP"],
            "embedding": [None, *line.tolist()[1:]],
        }
    ).replace_schema_metadata({"backbone": "moment", "synthetic": synthetic})


def test_embeddings_keep_their_distances_along_the_widest_direction():
    figure = plots.embedding(table())
    (axis,) = [axis for axis in figure.axes if axis.get_title()]
    assert axis.get_xlabel() == "direction 1 (100% of the variance)"
    points = np.concatenate([c.get_offsets() for c in axis.collections])
    np.testing.assert_allclose(np.diff(np.sort(points[:, 0])), 5.0, atol=0.1)
    assert figure.get_suptitle() == "moment, coloured by subject"
    assert "SYNTHETIC" in plots.embedding(table(synthetic="true"), "origin_s").get_suptitle()
    with pytest.raises(DataError, match="there is no column 'label'"):
        plots.embedding(table(), "label")
