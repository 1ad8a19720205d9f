import pytest
import torch

from contracts.adapter import AdapterContract, train
from contracts.batch import assert_near, random_batch, roughened
from tsfm_adapt.adapters import fourierft
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_t5 import ChronosT5
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel

ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.out")
EVERYWHERE = (*ATTENTION, "mlp.in", "mlp.out")


class TestFourierFT(AdapterContract):
    config = fourierft.Config(frequencies=50)


class TestFourierFTEverywhere(AdapterContract):
    config = fourierft.Config(frequencies=200, scaling=300.0, sites=EVERYWHERE)


@pytest.mark.parametrize(
    ("sites", "frequencies"), [(("attn.q", "attn.v"), 100), (ATTENTION, 50)], ids=str
)
def test_the_published_2400_parameters_of_chronos_t5_tiny_can_be_asked_for(sites, frequencies):
    """arXiv 2409.11302; 4 + 4 blocks have 12 attention modules, so 24 or 48 matrices."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=4096,
        d_model=256,
        d_kv=64,
        d_ff=1024,
        num_layers=4,
        num_heads=4,
        decoder_start_token_id=0,
    )
    config.chronos_config = ChronosT5.tiny().model.config.chronos_config | {"n_tokens": 4096}
    with torch.device("meta"):
        backbone = ChronosT5(T5ForConditionalGeneration(config), "published")
    adapter = fourierft.Config(sites=sites, frequencies=frequencies).build()
    tensors = AdaptedModel(backbone, [adapter]).trainable().values()
    assert sum(p.numel() for p in tensors) == 2400
    assert {p.device.type for p in tensors} == {"meta"}


def test_the_update_is_the_inverse_transform_of_the_learned_coefficients():
    backbone, adapter = roughened(Chronos2.tiny()), fourierft.Config(frequencies=5).build()
    name = "model.encoder.block.0.layer.0.self_attention.q"
    before = backbone.network.get_submodule(name).weight.detach().double()
    model = AdaptedModel(backbone, [adapter])
    train(model, random_batch())
    learned = model.trainable()[f"network.{name}.fourierft_spectrum.default"].detach().double()
    places = backbone.network.get_submodule(name).indices["default"]
    rows, columns = (torch.arange(32.0, dtype=torch.float64) for _ in range(2))
    expected = before.clone()
    for c, (u, v) in zip(learned, places.T.tolist(), strict=True):
        angle = 2 * torch.pi * (u * rows[:, None] + v * columns) / 32
        expected += 150.0 * c * angle.cos() / (32 * 32)
    adapter.merge(backbone)
    merged = backbone.network.get_submodule(name).weight.double()
    assert_near(merged, expected, relative=1e-6)
    assert (merged - before).abs().max() > 1e-4


def test_the_places_of_the_frequencies_come_from_their_own_seed():
    def places(**settings):
        adapter = fourierft.Config(frequencies=20, **settings).build()
        model = AdaptedModel(Chronos2.tiny(), [adapter])
        return [m.indices["default"] for m in model.network.modules() if hasattr(m, "indices")]

    first, again, other = places(), places(), places(location_seed=1)
    assert len(first) == 8
    assert all(torch.equal(first[0], each) for each in [*first, *again])
    assert not torch.equal(first[0], other[0])


def test_more_frequencies_than_a_matrix_has_entries_are_refused():
    adapter = fourierft.Config(frequencies=1025).build()
    with pytest.raises(
        RecipeError, match=r"1025 is more than the 32 x 32 = 1024 entries of model"
    ):
        adapter.attach(Chronos2.tiny(), Setting())
