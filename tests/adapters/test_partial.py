import pytest
import torch
from pydantic import ValidationError

from contracts.adapter import AdapterContract, base_tensors, train
from contracts.batch import random_batch
from tsfm_adapt.adapters import bitfit, full, lora, norm, partial
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_t5 import ChronosT5
from tsfm_adapt.backbones.lag_llama import LagLlama
from tsfm_adapt.backbones.timesfm import TimesFM
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel


class TestPartial(AdapterContract):
    config = partial.Config()

    def trained_base(self, backbone):
        return {n for n in base_tensors(backbone) if n.startswith("model.encoder.block.1.")}


class TestPartialWithHead(AdapterContract):
    config = partial.Config(last_blocks=2, head=True)

    def trained_base(self, backbone):
        parts = ("model.encoder.block.", "model.output_patch_embedding.")
        return {name for name in base_tensors(backbone) if name.startswith(parts)}


def trainable(backbone, **settings):
    model = AdaptedModel(backbone, [partial.Config(**settings).build()])
    return {name.removeprefix("network.model.") for name in model.trainable()}


@pytest.mark.parametrize(
    ("backbone_class", "block", "head"),
    [
        (ChronosT5, "encoder.block.1", None),
        (LagLlama, "transformer.h.1", {"param_proj"}),
        (TimesFM, "stacked_xf.1", {"output_projection_point", "output_projection_quantiles"}),
    ],
)
def test_it_finds_the_last_block_and_the_head(backbone_class, block, head):
    chosen = trainable(backbone_class.tiny())
    assert chosen
    assert all(name.startswith(f"{block}.") for name in chosen)
    if head is not None:
        more = trainable(backbone_class.tiny(), head=True) - chosen
        assert {name.split(".")[0] for name in more} == head


def test_a_head_that_is_also_the_embedding_is_refused():
    adapter = partial.Config(head=True).build()
    with pytest.raises(RecipeError, match=r"head of chronos_t5 shares its weights with model\.sh"):
        adapter.attach(ChronosT5.tiny(), Setting())


def test_more_blocks_than_there_are_is_refused():
    with pytest.raises(RecipeError, match="3 is more than the 2 blocks of chronos2's encoder"):
        partial.Config(last_blocks=3).build().attach(Chronos2.tiny(), Setting())
    with pytest.raises(ValidationError, match="blocks"):
        partial.Config(last_blocks=0)


@pytest.mark.parametrize("other", [norm.Config(), full.Config(), lora.Config(rank=2)])
def test_two_adapters_that_train_the_same_tensors_are_refused(other):
    with pytest.raises(RecipeError, match=r"both train \d+ tensors, first .*Keep one of them"):
        AdaptedModel(Chronos2.tiny(), [partial.Config().build(), other.build()])


def test_adapters_of_different_weights_train_together():
    backbone = Chronos2.tiny()
    configs = [partial.Config(), bitfit.Config(), lora.Config(rank=2, blocks=[0])]
    model = AdaptedModel(backbone, [config.build() for config in configs])
    chosen = set(model.trainable())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, random_batch())
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == chosen
    assert {"lora_A" in name for name in chosen} == {True, False}
