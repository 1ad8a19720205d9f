"""Our TimesFM says what upstream's `forecast` says with the same weights; float32."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.batch import random_batch, roughened
from tsfm_adapt.backbones._anchored import GaplessSeries
from tsfm_adapt.backbones._nets.timesfm import write
from tsfm_adapt.backbones.base import PLAIN
from tsfm_adapt.backbones.timesfm import Config, TimesFM

KNOWN = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.fixture(scope="module")
def backbone():
    return roughened(TimesFM.tiny(seed=3))


@pytest.fixture(scope="module")
def upstream(backbone):
    """Upstream's forecaster around the same network."""
    from timesfm import TimesFM_2p5_200M_torch

    class Sized(TimesFM_2p5_200M_torch):
        def __init__(self):
            self.model = backbone.model

    return Sized()


def with_nan(batch):
    return batch.values.masked_fill(~batch.observed, float("nan"))


def relative_error(actual, expected):
    """Largest difference over each series' largest magnitude."""
    scale = expected.abs().amax(dim=(-1, -2), keepdim=True)
    return ((actual - expected).abs() / scale.clamp(min=1e-12)).max().item()


def near_zero(batch):
    """Without the level, which costs upstream's statistics digits that ours keep."""
    level = batch.values.gather(2, batch.observed.int().argmax(2, keepdim=True))
    return replace(batch, values=batch.values - level, target=batch.target - level)


def both(backbone, upstream, batch, steps, continuous=True):
    """Our quantiles and upstream's, (B, C, Q, H) each."""
    from timesfm import ForecastConfig

    context = 32 * -(-batch.values.shape[-1] // 32)
    rows = [row.numpy() for row in with_nan(batch).flatten(0, 1)]
    # Where nothing was measured upstream means to see zeros, but its check for that raises.
    rows = [np.zeros_like(row) if np.isnan(row).all() else row for row in rows]
    upstream.compile(
        ForecastConfig(
            max_context=context,
            max_horizon=steps,
            per_core_batch_size=len(rows),
            use_continuous_quantile_head=continuous,
            force_flip_invariance=False,
            infer_is_positive=False,
        )
    )
    median, columns = upstream.forecast(steps, rows)
    assert np.array_equal(median, columns[..., 5])
    with torch.no_grad():
        actual = backbone.forecast(batch, steps).quantiles(KNOWN)
    expected = torch.from_numpy(columns[..., 1:]).transpose(-1, -2)
    return actual, expected.unflatten(0, batch.values.shape[:2])


@pytest.mark.parametrize("steps", [1, 50, 64, 65, 128])  # a pass is 64, the quantile head 128
@pytest.mark.parametrize("samples", [1, 5, 70, 300])  # a patch is 32
def test_forecasts_equal_those_of_upstream(backbone, upstream, samples, steps):
    batch = random_batch(windows=2, channels=3, samples=samples, missing=0.3, seed=samples)
    batch = batch if steps <= 64 else near_zero(batch)  # feeding back magnifies what rounding does
    assert relative_error(*both(backbone, upstream, batch, steps)) <= 1e-5


@pytest.mark.parametrize("steps", [16, 100])
def test_forecasts_equal_those_of_upstream_where_channels_are_missing_or_constant(
    backbone, upstream, steps
):
    batch = near_zero(random_batch())
    batch.observed[0, 1] = False
    batch.observed[1] = False
    batch.values[2, 0] = 36.6
    batch.observed[2, :, 16:48] = False
    batch.observed[2, 2, 50:] = False
    assert relative_error(*both(backbone, upstream, batch, steps)) <= 1e-5


def test_medians_equal_those_of_upstream_in_any_number_of_passes(backbone, upstream):
    """Upstream has no quantile head there; the median is that of the passes."""
    actual, expected = both(backbone, upstream, near_zero(random_batch()), 200, continuous=False)
    assert relative_error(actual[:, :, 4:5], expected[:, :, 4:5]) <= 1e-5


def test_the_point_head_equals_upstreams_decode_in_all_ten_columns(backbone):
    batch = near_zero(random_batch(samples=96, missing=0.0))
    rows = batch.values.flatten(0, 1)
    outputs, quantiles, _ = backbone.model.decode(64, rows, torch.zeros_like(rows).bool())
    series = GaplessSeries.of(batch, max_context=512)
    with torch.no_grad():
        state = backbone._pass(series, batch, PLAIN)
        heads = [backbone._point_head(state), backbone._quantile_head(state)]
    scaled = [h * state.scale[:, None, None] + state.centre[:, None, None] for h in heads]
    points, continuous = (
        series.in_units(head.flatten(1)).unflatten(1, (-1, 10)) for head in scaled
    )
    assert relative_error(points, outputs[:, -1]) <= 1e-5
    assert relative_error(continuous, quantiles) <= 1e-5


@pytest.mark.parametrize("samples", [32, 160])
def test_tokens_equal_those_of_upstreams_module(backbone, samples):
    from timesfm.torch.util import revin, update_running_stats

    batch = near_zero(random_batch(samples=samples, missing=0.0))
    patches = batch.values.flatten(0, 1).unflatten(1, (-1, 32))
    masks = torch.zeros_like(patches).bool()
    statistics = [torch.zeros(12)] * 3
    history = []
    for patch in range(patches.shape[1]):
        statistics, _ = update_running_stats(*statistics, patches[:, patch], masks[:, patch])
        history.append(statistics)
    _, mean, deviation = (torch.stack(part, dim=1) for part in zip(*history, strict=True))
    with torch.no_grad():
        (_, hidden, _, _), _ = backbone.model(revin(patches, mean, deviation), masks)
        encoded = backbone.encode(batch)
    assert relative_error(encoded.tokens, hidden.unflatten(0, (3, 4))) <= 1e-5


@pytest.mark.parametrize("horizon", [1, 20, 100, 140])
def test_the_loss_is_the_pinball_loss_of_both_heads_in_scaled_space(backbone, horizon):
    """Numpy's own arithmetic on upstream's outputs, without gaps in the context."""
    batch = random_batch(samples=96, horizon=horizon, missing=0.0)
    batch.target_observed[:] = torch.rand(batch.target.shape) < 0.7
    rows = batch.values.flatten(0, 1)
    points, continuous, _ = backbone.model.decode(1, rows, torch.zeros_like(rows).bool())
    mean = rows.double().numpy().mean(-1, keepdims=True)
    deviation = rows.double().numpy().std(-1, keepdims=True)
    target = (batch.target.flatten(0, 1).double().numpy() - mean) / deviation
    observed = batch.target_observed.flatten(0, 1).numpy()
    losses = []
    for head in (points[:, -1], continuous):
        steps = min(head.shape[1], horizon)
        columns = []
        for column, level in enumerate([0.5, *KNOWN]):
            predicted = (head[:, :steps, column].double().numpy() - mean) / deviation
            error = (target[:, :steps] - predicted)[observed[:, :steps]]
            columns.append(2 * np.maximum(level * error, (level - 1) * error).mean())
        losses.append(np.mean(columns))
    assert backbone.loss(batch).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_upstreams_own_class_loads_what_was_written(tmp_path, backbone):
    """Through its `from_pretrained`, where its class has the same sizes."""
    from timesfm import TimesFM_2p5_200M_torch

    class Sized(TimesFM_2p5_200M_torch):
        def __init__(self, torch_compile=True, config=None, **kwargs):
            self.model = TimesFM.tiny(seed=9).model
            self.torch_compile = torch_compile

    write(backbone.model, tmp_path)
    loaded = Sized.from_pretrained(str(tmp_path), torch_compile=False)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, backbone.model.state_dict()[name]), name


@pytest.mark.slow
def test_the_published_size_loads_from_upstreams_folder_and_says_the_same(tmp_path):
    """231 M random parameters, saved by upstream's own class."""
    from timesfm import TimesFM_2p5_200M_torch

    torch.manual_seed(0)
    upstream = TimesFM_2p5_200M_torch(torch_compile=False)
    for name, parameter in upstream.model.named_parameters():
        if name.endswith("ln.scale"):
            torch.nn.init.ones_(parameter)
    upstream.save_pretrained(str(tmp_path))
    backbone = Config(checkpoint=str(tmp_path)).build()
    loaded = TimesFM_2p5_200M_torch.from_pretrained(str(tmp_path), torch_compile=False)
    batch = near_zero(random_batch(windows=1, channels=2, samples=100))
    assert relative_error(*both(backbone, loaded, batch, 300)) <= 1e-5
    (tmp_path / "model.safetensors").unlink()  # a gigabyte
