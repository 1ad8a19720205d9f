"""What prompts know of the tokens beside them: their size, and which were observed."""

import pytest
import torch

from contracts.batch import random_batch, roughened
from tsfm_adapt.adapters._prompts import token_observed, token_sizes
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.lag_llama import LagLlama
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.backbones.timesfm import TimesFM
from tsfm_adapt.backbones.timesfm3 import TimesFM3


@pytest.mark.parametrize(
    "backbone_class", [Chronos2, ChronosBolt, Moment, TimesFM, TimesFM3, LagLlama]
)
@pytest.mark.parametrize("samples", [1, 70, 1200])
def test_which_tokens_were_observed_is_known_before_they_are_encoded(backbone_class, samples):
    backbone, batch = backbone_class.tiny(), random_batch(samples=samples)
    encoded = backbone.encode(batch)
    observed = token_observed(backbone, batch, encoded.tokens.shape[2])
    assert torch.equal(observed, encoded.token_observed)


@pytest.mark.parametrize("backbone_class", [Chronos2, Moment])
def test_sizes_are_those_of_tokens_before_each_block_and_follow_the_weights(backbone_class):
    backbone = roughened(backbone_class.tiny())
    sizes = token_sizes(backbone)
    assert sizes.shape == (backbone.spec.layers,)
    assert (sizes > 0).all()
    assert torch.equal(token_sizes(backbone), sizes)
    with torch.no_grad():
        for parameter in backbone.network.parameters():
            parameter.zero_()
    assert (token_sizes(backbone) != sizes).any()


def test_on_the_meta_device_every_size_is_1():
    with torch.device("meta"):
        backbone = Moment.tiny()
    assert token_sizes(backbone).shape == (backbone.spec.layers,)
    assert token_sizes(backbone).is_meta
