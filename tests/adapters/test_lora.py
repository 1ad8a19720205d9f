import copy
import re
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from contracts.adapter import AdapterContract, quantiles, train
from contracts.batch import LEVELS, assert_near, random_batch, roughened
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


class TestLora(AdapterContract):
    config = lora.Config(rank=4)


class TestLoraEverywhere(AdapterContract):
    config = lora.Config(rank=2, sites=EVERYWHERE)


class TestRankStabilisedLora(AdapterContract):
    config = lora.Config(rank=4, rslora=True)


class TestDora(AdapterContract):
    config = lora.Config(rank=4, dora=True)


def adapted(**settings):
    return AdaptedModel(roughened(Chronos2.tiny()), [lora.Config(**settings).build()])


def size(model):
    return sum(p.numel() for p in model.trainable().values())


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_its_size_is_rank_times_the_sides_of_every_matrix(rank):
    # 2 blocks x (time, group) attention, q and v of 32 x 32 each; feed-forward 32 -> 64 -> 32
    attention, feed_forward = 2 * 2 * rank * (32 + 32), 2 * rank * (32 + 64)
    assert size(adapted(rank=rank)) == 2 * attention
    assert size(adapted(rank=rank, sites=EVERYWHERE)) == 4 * attention + 2 * feed_forward


def test_dora_adds_one_magnitude_per_output():
    assert size(adapted(rank=4, dora=True)) - size(adapted(rank=4)) == 2 * 2 * 2 * 32


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"rank": 4, "alpha": 8.0}, 2.0),
        ({"rank": 4, "alpha": 0.5}, 0.125),
        ({"rank": 4, "alpha": 8.0, "rslora": True}, 4.0),
    ],
)
def test_merging_adds_scale_times_b_a_to_each_weight(settings, scale):
    backbone, adapter = roughened(Chronos2.tiny()), lora.Config(**settings).build()
    name = "model.encoder.block.0.layer.1.self_attention.v"
    before = backbone.network.get_submodule(name).weight.detach().clone()
    train(AdaptedModel(backbone, [adapter]), random_batch(), steps=2)
    layer = backbone.network.get_submodule(name)
    low, high = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = before + scale * (high @ low).detach()
    adapter.merge(backbone)
    merged = backbone.network.get_submodule(name).weight
    assert_near(merged, expected, relative=1e-6)
    assert (merged - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"blocks": {"from": 2, "to": 1}},
        {"blocks": [-1, 1]},
        {"blocks": []},
        {"blocks": "first"},
        {"rank": 0},
        {"alpha": 0},
        {"dropout": 1.0},
        {"sites": ()},
        {"sites": ("attn.qkv",)},
        {"ranks": 4},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        lora.Config(**settings)


def test_dropout_acts_in_training_only():
    model, batch = adapted(rank=4, dropout=0.5), random_batch()
    train(model, batch, steps=2)
    assert torch.equal(quantiles(model, batch), quantiles(model, batch))
    for name, module in model.network.named_modules():
        module.train("lora_dropout" in name)  # and not the dropout of the base
    one, other = (model.forecast(batch, 20).quantiles(LEVELS) for _ in range(2))
    assert not torch.equal(one, other)


def test_a_flat_channel_teaches_nothing_while_the_others_do():
    model, batch = adapted(rank=4), random_batch()
    batch.values[:, 2] = 36.6
    blind = replace(batch, target_observed=batch.target_observed.clone())
    blind.target_observed[:, 2] = False
    gradients = []
    for each in (batch, blind):
        loss = model(each)
        gradients.append(torch.autograd.grad(loss, list(model.trainable().values())))
        assert loss > 0
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"rslora": True}], ids=str)
def test_upstreams_own_class_loads_the_adapter_through_peft(tmp_path, settings):
    """What we train is a peft adapter of `chronos.Chronos2Model`, with nothing of ours in it."""
    from chronos.chronos2 import Chronos2Model
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import save_file

    backbone, batch = roughened(Chronos2.tiny()), random_batch()
    backbone.model.save_pretrained(tmp_path / "base")
    model = AdaptedModel(backbone, [lora.Config(rank=4, sites=EVERYWHERE, **settings).build()])
    train(model, batch)

    (tmp_path / "adapter").mkdir()
    tensors = get_peft_model_state_dict(model.network)
    save_file(
        {f"base_model.{name}": tensor.contiguous() for name, tensor in tensors.items()},
        tmp_path / "adapter" / "adapter_model.safetensors",
    )
    model.network.peft_config["default"].save_pretrained(tmp_path / "adapter")

    base = Chronos2Model.from_pretrained(tmp_path / "base")
    upstream = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        theirs = upstream(
            context=batch.values.masked_fill(~batch.observed, float("nan")).flatten(0, 1),
            group_ids=torch.arange(3).repeat_interleave(4),
            num_output_patches=2,
        ).quantile_preds
    theirs = theirs.reshape(3, 4, 9, 32)[:, :, [0, 4, 8], :20]
    assert LEVELS == (0.1, 0.5, 0.9)
    assert_near(theirs, quantiles(model, batch), relative=1e-6)


def test_two_adapters_on_two_copies_do_not_meet():
    backbone = roughened(Chronos2.tiny())
    first = AdaptedModel(copy.deepcopy(backbone), [lora.Config(rank=2).build()])
    second = AdaptedModel(copy.deepcopy(backbone), [lora.Config(rank=3).build()])
    batch = random_batch()
    before = quantiles(second, batch)
    train(first, batch)
    assert torch.equal(quantiles(second, batch), before)


def test_the_sites_of_a_role_are_those_its_pattern_names():
    model = adapted(rank=4, sites=("attn.k",))
    pattern = re.compile(Chronos2.tiny().sites()["attn.k"] + r"\.lora_[AB]\.default\.weight")
    assert all(pattern.fullmatch(n.removeprefix("network.")) for n in model.trainable())
    assert len(model.trainable()) == 2 * 2 * 2
