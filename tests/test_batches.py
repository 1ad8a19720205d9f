import numpy as np
import torch

from contracts.batch import random_batch
from tsfm_adapt.batches import collate, context_batch
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec


def windows(horizon):
    values = np.arange(60, dtype=np.float64).reshape(2, 30)
    values[1, ::3] = np.nan
    recording = Recording(
        id="r",
        subject="p",
        values=values,
        channels=("HR", "SpO2"),
        units=("bpm", "%"),
        rate_hz=1 / 60,
        start=np.datetime64("2896-01-01T00:00:00", "s"),
    )
    return Windows([recording], WindowSpec(context=8, horizon=horizon, stride=5))


def test_windows_become_tensors_of_the_same_numbers():
    arrays = windows(horizon=4).gather([0, 2, 3])
    batch = collate(arrays)
    assert batch.size == 3
    assert batch.values.shape == (3, 2, 8)
    assert batch.target.shape == (3, 2, 4)
    assert batch.values.dtype == batch.target.dtype == torch.float32
    assert batch.observed.dtype == batch.target_observed.dtype == torch.bool
    assert batch.start_s.dtype == torch.float64
    for name in ("values", "observed", "target", "target_observed", "start_s"):
        assert np.array_equal(getattr(batch, name).numpy(), getattr(arrays, name)), name
    assert (batch.rate_hz, batch.channels) == (1 / 60, ("HR", "SpO2"))
    assert batch.subjects == ("p", "p", "p")


def test_gaps_are_unobserved_and_every_value_is_finite():
    batch = collate(windows(horizon=4).gather([0]))
    assert batch.observed[0, 1].tolist() == [i % 3 != 0 for i in range(8)]
    assert batch.values.isfinite().all()
    assert batch.target.isfinite().all()


def test_nothing_is_copied_on_the_way():
    arrays = windows(horizon=4).gather([0, 1])
    batch = collate(arrays)
    for name in ("values", "observed", "target", "target_observed", "start_s"):
        assert np.shares_memory(getattr(batch, name).numpy(), getattr(arrays, name)), name


def test_windows_without_a_horizon_have_no_target():
    batch = collate(windows(horizon=0).gather([0]))
    assert batch.target is None
    assert batch.target_observed is None


def test_seconds_since_the_epoch_survive_the_year_2896():
    batch = collate(windows(horizon=4).gather([0, 1]))
    start = np.datetime64("2896-01-01T00:00:00", "s").astype(np.int64)
    assert batch.start_s.tolist() == [start, start + 5 * 60]


def test_moving_takes_every_tensor_along():
    moved = random_batch().to("meta")
    for name in ("values", "observed", "target", "target_observed", "start_s"):
        assert getattr(moved, name).device.type == "meta", name
    assert moved.channels == random_batch().channels
    assert random_batch().without_target().to("meta").target is None


def test_without_its_target_the_batch_is_otherwise_the_same():
    batch = random_batch()
    blind = batch.without_target()
    assert blind.target is None
    assert blind.target_observed is None
    assert blind.values is batch.values
    assert blind.observed is batch.observed
    assert batch.target is not None


def test_a_context_alone_is_observed_where_it_is_a_number():
    values = torch.tensor([[[1.0, torch.nan, 3.0]], [[torch.nan, torch.nan, 0.0]]])
    batch = context_batch(values, 0.5, ("HR",), ("p", "q"))
    assert torch.equal(batch.observed, ~values.isnan())
    assert torch.equal(batch.values[batch.observed], values[batch.observed])
    assert batch.values.isfinite().all()
    assert batch.target is None
    assert batch.start_s.isnan().all()
    assert batch.start_s.dtype == torch.float64
    assert (batch.rate_hz, batch.channels, batch.subjects) == (0.5, ("HR",), ("p", "q"))


def test_the_standard_deviation_is_that_of_observed_samples():
    batch = random_batch(missing=0.5)
    batch.observed[1, 2] = False
    visible = batch.values.double().where(batch.observed, torch.nan)
    mean = visible.nanmean(-1, keepdim=True)
    expected = (visible - mean).square().nanmean(-1).sqrt().nan_to_num()
    assert torch.allclose(batch.deviation().double(), expected, rtol=1e-4)
    assert batch.deviation()[1, 2] == 0


def test_targets_of_flat_contexts_count_as_not_observed():
    batch = random_batch(missing=0.0)
    scale = batch.deviation()
    floor = torch.zeros(4)
    floor[1] = scale[:, 1].median()
    kept = batch.without_flat(scale, floor).target_observed.all(-1)
    assert torch.equal(kept, scale > floor)
    assert kept[:, 1].sum() == 1
    assert kept.any()
