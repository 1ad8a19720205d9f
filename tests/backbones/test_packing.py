"""Rows of windows for the Moirai families: scaling, patches, ids, and the loss over series."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from contracts.batch import assert_near, random_batch, with_garbage
from tsfm_adapt.backbones._packing import (
    Context,
    Scaling,
    ids,
    mean_by_series,
    sites,
    target_patches,
)

SPEC = SimpleNamespace(max_context=64, patch=8)


def test_the_scale_is_numpys_mean_and_sample_deviation_of_what_was_observed():
    batch = random_batch(missing=0.4)
    scaling = Scaling.of(with_garbage(batch).values, batch.observed)
    values = np.where(batch.observed, batch.values.double(), np.nan)
    np.testing.assert_allclose(scaling.loc[..., 0], np.nanmean(values, -1))
    np.testing.assert_allclose(scaling.scale[..., 0], np.nanstd(values, -1, ddof=1))


def test_a_constant_and_an_empty_series_have_upstreams_smallest_deviation():
    values = torch.tensor([[[1000.0, 1000.0], [5.0, 5.0]]])
    observed = torch.tensor([[[True, True], [False, False]]])
    scaling = Scaling.of(values, observed)
    assert scaling.loc.flatten().tolist() == [1000.0, 0.0]
    assert scaling.scale.flatten().tolist() == pytest.approx([1e-5**0.5] * 2)


def test_restoring_undoes_the_scaling_and_gaps_are_0():
    batch = random_batch(missing=0.3)
    scaling = Scaling.of(batch.values, batch.observed)
    scaled = scaling.scaled(with_garbage(batch).values, batch.observed)
    assert not scaled[~batch.observed].any()
    restored = scaling.restored(scaled[:, :, None])[:, :, 0]
    expected = torch.where(batch.observed, batch.values, scaling.loc.float())
    assert_near(restored, expected, relative=1e-5)


def test_patches_end_with_the_context_and_gaps_carry_the_last_observed_value():
    batch = random_batch(samples=20, missing=0.0)
    batch.observed[0, 0, 5:9] = False
    batch.observed[0, 1, :3] = False
    context = Context.of(batch, batch.observed, SPEC)
    assert context.values.shape == (3, 4, 3, 8)
    values, observed = context.values.flatten(-2), context.observed.flatten(-2)
    assert not observed[..., :4].any()
    assert torch.equal(observed[..., 4:], batch.observed)
    scaled = context.scaling.scaled(batch.values, batch.observed)
    assert torch.equal(values[..., 4:][batch.observed], scaled[batch.observed])
    assert (values[0, 0, 9:13] == scaled[0, 0, 4]).all()
    assert (values[0, 1, :7] == scaled[0, 1, 3]).all()
    assert context.shown.all()


def test_only_the_last_samples_are_read_and_a_patch_without_any_is_not_shown():
    batch = random_batch(samples=100, missing=0.0)
    batch.observed[0, 0, 36:44] = False
    context = Context.of(batch, batch.observed, SPEC)
    later = replace(batch, values=batch.values.clone())
    later.values[..., :36] += 1e3
    assert torch.equal(Context.of(later, batch.observed, SPEC).values, context.values)
    assert context.shown.shape == (3, 4, 8)
    assert (~context.shown).nonzero().tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("steps", [3, 8, 11, 50])
def test_targets_begin_a_patch_and_what_is_beyond_them_is_not_observed(steps):
    batch = random_batch()
    scaling = Scaling.of(batch.values, batch.observed)
    values, observed = target_patches(batch, steps, 8, scaling)
    kept = min(steps, 20)
    assert values.shape == observed.shape == (3, 4, -(-kept // 8), 8)
    flat, seen = values.flatten(-2), observed.flatten(-2)
    expected = scaling.scaled(batch.target, batch.target_observed)[..., :kept]
    assert torch.equal(flat[..., :kept], expected)
    assert torch.equal(seen[..., :kept], batch.target_observed[..., :kept])
    assert not flat[..., kept:].any()
    assert not seen[..., kept:].any()


def test_every_series_weighs_the_same_however_much_of_it_was_observed():
    loss = torch.tensor([[[[1.0, 3.0]], [[10.0, 99.0]]], [[[99.0, 99.0]], [[2.0, 2.0]]]])
    observed = torch.tensor([[[[True, True]], [[True, False]]], [[[False] * 2], [[True] * 2]]])
    assert mean_by_series(loss, observed).item() == pytest.approx((2 + 10 + 0 + 2) / 4)


def test_rows_hold_one_channel_after_another():
    variate, time = ids(2, 3, 4, "cpu")
    assert variate.tolist() == [[0] * 4 + [1] * 4 + [2] * 4] * 2
    assert time.tolist() == [[0, 1, 2, 3] * 3] * 2


def test_each_role_has_layers_of_its_own():
    import re

    layers = {
        "self_attn.q_proj": "attn.q",
        "self_attn.k_proj": "attn.k",
        "self_attn.v_proj": "attn.v",
        "self_attn.out_proj": "attn.out",
        "ffn.fc1": "mlp.in",
        "ffn.fc_gate": "mlp.in",
        "ffn.fc2": "mlp.out",
    }
    for layer, role in layers.items():
        for prefix in ("", "model."):
            name = f"{prefix}encoder.layers.11.{layer}"
            assert [r for r, pattern in sites().items() if re.fullmatch(pattern, name)] == [role]
