import pytest
import torch
from torch import nn

from tsfm_adapt.adapters import affine, channel_mixer, channel_projector, lora, norm, prompt
from tsfm_adapt.adapters.base import (
    Setting,
    attach_adapters,
    freeze_unreached,
    uses_native_loss,
)
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.errors import RecipeError

SETTING = Setting(("c0", "c1"))


def test_attached_adapters_are_known_by_the_parameters_that_they_train():
    backbone = Chronos2.tiny()
    adapters = [norm.Config().build(), prompt.Config().build(), lora.Config(rank=2).build()]
    trained_by = attach_adapters(backbone, adapters, SETTING)
    modules = nn.ModuleList(a.module for a in adapters if a.module)
    named = {**dict(backbone.network.named_parameters()), **dict(modules.named_parameters())}
    trained = {name: p for name, p in named.items() if p.requires_grad}
    assert {id(p) for p in trained.values()} == trained_by.keys()
    names = {name: trained_by[id(p)].name for name, p in trained.items()}
    assert {names[name] for name in names if "lora_" in name} == {"lora"}
    assert {names[name] for name in names if "layer_norm" in name} == {"norm"}
    assert set(names.values()) == {"norm", "prompt", "lora"}


def test_two_adapters_of_one_tensor_are_refused_by_name():
    twice = [norm.Config().build(), norm.Config().build()]
    with pytest.raises(RecipeError, match=r"norm and norm both train \d+ tensors"):
        attach_adapters(Chronos2.tiny(), twice, SETTING)


def test_a_setting_knows_the_channels_that_adapters_put_in_place():
    projector = channel_projector.Config(latents=1).build()
    assert SETTING.after([]).encoded == ("c0", "c1")
    assert SETTING.after([prompt.Config().build()]).encoded == ("c0", "c1")
    assert SETTING.after([projector]).encoded == ("latent0",)


@pytest.mark.parametrize(
    ("configs", "native"),
    [
        ([], True),
        ([lora.Config(), prompt.Config(), channel_mixer.Config()], True),
        ([lora.Config(), affine.Config()], False),  # corrects the forecast
        ([channel_projector.Config(latents=1)], False),  # changes the channels
    ],
)
def test_the_backbones_loss_is_used_where_nothing_acts_on_channels_or_forecast(configs, native):
    adapters = [config.build() for config in configs]
    assert uses_native_loss(adapters) == native
    assert not uses_native_loss(adapters, headed=True)
    assert not uses_native_loss(adapters, estimated=True)


@pytest.mark.parametrize("restores", [True, False])
def test_parameters_stay_trainable_where_the_tokens_or_the_restored_output_need_them(restores):
    inner, outer = lora.Config().build(), affine.Config().build()
    parameters = {name: nn.Parameter(torch.ones(1)) for name in ("reached", "idle", "after")}
    trained_by = {
        id(parameters["reached"]): inner,
        id(parameters["idle"]): inner,
        id(parameters["after"]): outer,
    }
    left_out = freeze_unreached(parameters, frozenset({"reached"}), trained_by, restores=restores)
    trainable = {name for name, p in parameters.items() if p.requires_grad}
    assert trainable == ({"reached", "after"} if restores else {"reached"})
    assert left_out == ([] if restores else [outer])
