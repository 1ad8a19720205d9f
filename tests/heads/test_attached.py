"""What of the adapters trains in front of a head: what the tokens or the restoring depend on."""

import pytest
import torch

from contracts.batch import roughened
from contracts.fitted import train_windows
from contracts.head import OUTPUTS, classified, labelled_batch, logits
from contracts.headed import few_windows, headed
from tsfm_adapt.adapters import affine, channel_projector
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.components import config_class
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads import linear


def test_an_adapter_of_forecasts_is_refused_in_front_of_a_head_of_classes():
    with pytest.raises(RecipeError, match="affine trains nothing that the tokens"):
        classified(linear.Config(), Chronos2.tiny(), [affine.Config().build()])


@pytest.mark.parametrize("adapter", [affine.Config(), channel_projector.Config(latents=2)])
def test_what_restores_a_forecast_trains_with_a_head_that_forecasts(adapter):
    own = adapter.build()
    model = headed(config_class("head", "linear_forecast")(), adapters=[own])
    model.fit(train_windows())
    model(few_windows()).backward()
    assert [n for n, p in own.module.named_parameters() if p.grad is None] == []


def test_fitted_channels_serve_a_head_of_classes():
    adapter = channel_projector.Config(form="pca", latents=2).build()
    model = classified(linear.Config(), roughened(Chronos2.tiny()), [adapter])
    assert model.head.plan.channels == 2
    assert set(model.trainable()) == {"module_of_head.linear.weight", "module_of_head.linear.bias"}
    assert model.frozen_before_head
    batch = labelled_batch()
    plain = logits(model, batch)
    model.fit(train_windows())
    assert (logits(model, batch) - plain).abs().max() > 1e-3
    assert len(OUTPUTS.classes) == plain.shape[1]
    assert torch.isfinite(plain).all()
