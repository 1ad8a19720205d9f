import pytest
import torch
from torch import nn

from contracts.adapter import AdapterContract, base_tensors
from tsfm_adapt.adapters import norm
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_t5 import ChronosT5
from tsfm_adapt.backbones.lag_llama import LagLlama
from tsfm_adapt.backbones.timesfm import TimesFM
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel


class TestNorm(AdapterContract):
    config = norm.Config()

    def trained_base(self, backbone):
        return {name for name in base_tensors(backbone) if "norm" in name}


class TestNormOfTimesFM(AdapterContract):
    """Scales have another name here, and heads have norms of their own."""

    config = norm.Config()
    backbone_class = TimesFM

    def trained_base(self, backbone):
        return {name for name in base_tensors(backbone) if name.endswith("_ln.scale")}


@pytest.mark.parametrize(
    ("backbone_class", "count"),
    [
        (Chronos2, 2 * 3 + 1),  # time and group attention, feed-forward; the end of the stack
        (ChronosT5, 2 * 2 + 1 + 2 * 3 + 1),  # and the decoder's cross-attention
        (TimesFM, 2 * 6),  # before and after attention and feed-forward, queries, keys
        (LagLlama, 2 * 2 + 1),
    ],
)
def test_every_norm_has_one_scale_that_trains(backbone_class, count):
    model = AdaptedModel(backbone_class.tiny(), [norm.Config().build()])
    trainable = model.trainable()
    assert len(trainable) == count
    assert all(p.ndim == 1 for p in trainable.values())


def test_a_model_without_norms_is_refused():
    backbone = Chronos2.tiny()
    backbone.network = nn.Sequential(nn.Linear(2, 2), nn.InstanceNorm1d(2))
    with pytest.raises(RecipeError, match=r"none of the 3 modules of chronos2 is a normal"):
        norm.Config().build().attach(backbone, Setting())


def test_shifts_of_a_layer_norm_stay_as_they_are():
    network = nn.LayerNorm(4)
    assert [id(p) for p in norm.scales(network)] == [id(network.weight)]
    assert torch.equal(network.bias, torch.zeros(4))
