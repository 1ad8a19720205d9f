import pytest
import torch

from contracts.adapter import AdapterContract, train
from contracts.batch import assert_near, random_batch, roughened
from tsfm_adapt.adapters import ia3
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.model import AdaptedModel


class TestIA3(AdapterContract):
    config = ia3.Config()


class TestIA3InAttention(AdapterContract):
    config = ia3.Config(sites=("attn.q", "attn.out"))


def test_its_size_is_one_number_a_key_a_value_and_an_inner_activation():
    model = AdaptedModel(Chronos2.tiny(), [ia3.Config().build()])
    # 2 blocks x (2 attentions x (k, v) of 32, and 64 inner activations)
    assert sum(p.numel() for p in model.trainable().values()) == 2 * (2 * 2 * 32 + 64)


@pytest.mark.parametrize(
    ("name", "scaled"),
    [
        ("model.encoder.block.0.layer.0.self_attention.k", "outputs"),
        ("model.encoder.block.1.layer.1.self_attention.v", "outputs"),
        ("model.encoder.block.1.layer.2.mlp.wo", "inputs"),
    ],
)
def test_keys_and_values_are_scaled_where_written_and_activations_where_read(name, scaled):
    backbone, adapter = roughened(Chronos2.tiny()), ia3.Config().build()
    before = backbone.network.get_submodule(name).weight.detach().clone()
    model = AdaptedModel(backbone, [adapter])
    train(model, random_batch())
    scale = model.trainable()[f"network.{name}.ia3_l.default"].detach().flatten()
    adapter.merge(backbone)
    expected = scale[:, None] * before if scaled == "outputs" else before * scale
    assert torch.equal(backbone.network.get_submodule(name).weight, expected)
    assert (scale - 1).abs().max() > 1e-2


def test_untrained_every_scale_is_one():
    model = AdaptedModel(Chronos2.tiny(), [ia3.Config().build()])
    assert all(p.eq(1).all() for p in model.trainable().values())


def test_a_scaled_key_is_a_key_scaled():
    backbone, batch = roughened(Chronos2.tiny()), random_batch()
    model = AdaptedModel(backbone, [ia3.Config(sites=("attn.k",)).build()])
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.fill_(0.5)
        expected = model(batch).item()
    other = roughened(Chronos2.tiny())
    with torch.no_grad():
        for name, parameter in other.network.named_parameters():
            if name.endswith("self_attention.k.weight"):
                parameter.mul_(0.5)
    assert_near(AdaptedModel(other)(batch), torch.tensor(expected))
