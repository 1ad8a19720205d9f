import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.adapter import SETTING, AdapterContract, quantiles, train
from contracts.batch import LEVELS, assert_near, random_batch, roughened
from contracts.fitted import recording, train_windows
from tsfm_adapt.adapters import affine
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.lag_llama import LagLlama
from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.signals.windows import Windows, WindowSpec


class AffineContract(AdapterContract):
    merges = False

    def model(self, backbone, adapters, seed=0):
        model = super().model(backbone, adapters, seed)
        model.fit(train_windows())
        return model


class TestForAll(AffineContract):
    config = affine.Config()


class TestForEachSubject(AffineContract):
    config = affine.Config(per="subject")


def adapted(backbone=None, setting=SETTING, fit=True, **settings):
    backbone = roughened(Chronos2.tiny()) if backbone is None else backbone
    model = AdaptedModel(backbone, [affine.Config(**settings).build()], setting=setting)
    if fit:
        model.fit(train_windows())
    return model


def batch_of(**changes):
    batch = random_batch(windows=2, channels=3, samples=40, horizon=16)
    return replace(batch, **changes)


@pytest.mark.parametrize("family", [Chronos2, LagLlama])  # quantiles, samples
def test_it_scales_and_shifts_in_deviations_of_train(family):
    backbone = roughened(family.tiny())
    bare, model, batch = AdaptedModel(copy.deepcopy(backbone)), adapted(backbone), batch_of()
    module = model.adapters[0].module
    scale, shift = torch.tensor([1.5, 0.5, 1.0]), torch.tensor([0.0, 2.0, -1.0])
    with torch.no_grad():
        module.log_scale[0] = scale.log()
        module.shift[0] = shift
    mean, unit = module.mean, module.deviation

    def column(values):
        return values[:, None, None]

    standard = (quantiles(bare, batch) - column(mean)) / column(unit)
    expected = (standard * column(scale) + column(shift)) * column(unit) + column(mean)
    assert_near(quantiles(model, batch), expected, relative=1e-5)


def test_untrained_it_is_the_base_bit_by_bit():
    backbone, batch = roughened(Chronos2.tiny()), batch_of()
    bare = AdaptedModel(copy.deepcopy(backbone))
    assert torch.equal(quantiles(adapted(backbone), batch), quantiles(bare, batch))


def test_it_has_two_numbers_a_channel_and_subject():
    assert sum(p.numel() for p in adapted().trainable().values()) == 2 * 3
    assert sum(p.numel() for p in adapted(per="subject").trainable().values()) == 2 * 3 * 2


def test_each_subject_learns_from_its_own_windows_only():
    model = adapted(per="subject")
    model(batch_of(subjects=("p1", "p1"))).backward()
    for parameter in model.trainable().values():
        assert not parameter.grad[0].any()
        assert parameter.grad[1].all()


def test_a_subject_has_the_same_correction_wherever_it_stands_in_a_batch():
    model, batch = adapted(per="subject"), batch_of()
    train(model, batch)
    swapped = replace(
        batch,
        values=batch.values.flip(0),
        observed=batch.observed.flip(0),
        start_s=batch.start_s.flip(0),
        subjects=batch.subjects[::-1],
    )
    assert_near(quantiles(model, swapped).flip(0), quantiles(model, batch))
    exchanged = replace(batch, subjects=batch.subjects[::-1])
    assert (quantiles(model, exchanged) - quantiles(model, batch)).abs().max() > 1e-3


def test_a_subject_that_train_did_not_have_is_refused():
    model = adapted(per="subject")
    with pytest.raises(DataError, match=r"for 2 subjects of train, not for 'p7'.* per: all"):
        model.forecast(batch_of(subjects=("p0", "p7")), 4)
    adapted().forecast(batch_of(subjects=("p0", "p7")), 4)


def test_a_correction_for_each_subject_needs_a_split_by_time():
    with pytest.raises(RecipeError, match=r"only data\.split\.by: time gives"):
        adapted(per="subject", setting=Setting(("c0", "c1", "c2")))


def test_channels_must_be_known():
    with pytest.raises(RecipeError, match="needs at least 1 channels"):
        adapted(setting=Setting())


def test_the_scale_stays_positive_so_that_quantiles_keep_their_order():
    model, batch = adapted(), batch_of()
    with torch.no_grad():
        model.adapters[0].module.log_scale.fill_(-3.0)
    levels = quantiles(model, batch)
    plain = quantiles(AdaptedModel(roughened(Chronos2.tiny())), batch)
    assert torch.equal(levels.argsort(2), plain.argsort(2))
    assert len(LEVELS) == levels.shape[2]


def test_units_are_those_of_what_was_measured_in_train():
    gaps = np.array([[1.0, 3.0, np.nan, 5.0], [7.0, 7.0, np.nan, 7.0], [np.nan] * 4])
    more = np.array([[np.nan, 7.0, np.nan, 9.0], [np.nan, 7.0, 7.0, 7.0], [np.nan] * 4])
    windows = Windows([recording(gaps), recording(more, "p1")], WindowSpec(2, 1))
    model = adapted(fit=False)
    model.fit(windows)
    module = model.adapters[0].module
    assert module.mean.tolist() == [5.0, 7.0, 0.0]
    assert module.deviation.tolist() == pytest.approx([8**0.5, 1.0, 1.0])
