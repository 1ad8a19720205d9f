"""What is written is what comes back, onto the base that it was trained on and onto no other."""

import functools
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from contracts.adapter import quantiles, train
from contracts.batch import LEVELS, assert_near, random_batch
from contracts.card import CARD
from contracts.fitted import train_windows
from contracts.small_run import model
from tsfm_adapt.adapters import (
    adalora,
    affine,
    bitfit,
    channel_mixer,
    channel_projector,
    fourierft,
    full,
    generated_prompt,
    ia3,
    lora,
    norm,
    partial,
    prompt,
    surrogate_pair,
    vera,
)
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.errors import DataError, EnvironmentProblem, RecipeError
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.runs.bundle import FORMAT_VERSION, fitted, read_card, restore, write

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
ADAPTERS = {
    "lora": lora.Config(rank=2),
    "lora everywhere": lora.Config(rank=2, sites=EVERYWHERE),
    "rank-stabilised lora": lora.Config(rank=4, rslora=True),
    "dora": lora.Config(rank=2, dora=True),
    "lora in one block": lora.Config(rank=2, blocks=[1]),
    "adalora": adalora.Config(init_rank=4, target_rank=2),
    "vera": vera.Config(rank=8, sites=EVERYWHERE),
    "fourierft": fourierft.Config(frequencies=50),
    "ia3": ia3.Config(),
    "full": full.Config(),
    "norm": norm.Config(),
    "bitfit": bitfit.Config(),
    "partial": partial.Config(head=True),
}
OF_THE_BASE = ("full", "norm", "bitfit", "partial")  # no layers of peft


def card_of(adapted, **changes):
    plain = replace(
        CARD,
        checkpoint="tiny",
        base_sha256=adapted.base_sha256,
        synthetic=True,
        versions={"torch": torch.__version__},
    )
    return replace(plain, **changes)


def fresh(name="lora", seed=0):
    return model(adapters=[ADAPTERS[name].build()], seed=seed)


@pytest.fixture
def batch():
    return random_batch(windows=2, channels=2, samples=40, horizon=16)


@pytest.fixture
def written(tmp_path, batch):
    """A trained LoRA model and its bundle."""
    adapted = fresh()
    train(adapted, batch)
    write(tmp_path / "bundle", adapted, card_of(adapted), {"recipe.yaml": "name: α\n"})
    return adapted, tmp_path / "bundle"


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_bundle_restores_the_same_forecasts_bit_by_bit(tmp_path, batch, name):
    adapted, untrained = fresh(name), quantiles(fresh(name), batch)
    train(adapted, batch)
    expected = quantiles(adapted, batch)
    write(tmp_path, adapted, card_of(adapted), {})
    restored = fresh(name, seed=1)
    restore(tmp_path, restored)
    for parameter, tensor in restored.trainable().items():
        assert torch.equal(tensor, adapted.trainable()[parameter]), parameter
    assert torch.equal(quantiles(restored, batch), expected)
    assert (expected - untrained).abs().max() > 1e-3


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_trained_number_is_saved_once_and_no_other(tmp_path, name):
    from safetensors import safe_open

    adapted = fresh(name)
    write(tmp_path, adapted, card_of(adapted), {})
    saved = 0
    for path in tmp_path.glob("*.safetensors"):
        if path.name != "fitted.safetensors":
            with safe_open(path, "pt") as file:
                saved += sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118
    assert saved == sum(p.numel() for p in adapted.trainable().values())
    assert (tmp_path / "adapter_model.safetensors").exists() == (name not in OF_THE_BASE)
    assert (tmp_path / "modules.safetensors").exists() == (name in OF_THE_BASE)


def test_layers_of_peft_and_trained_base_weights_are_saved_apart(tmp_path, batch):
    def both(seed):
        adapters = [ADAPTERS["lora"].build(), ADAPTERS["norm"].build()]
        return model(adapters=adapters, seed=seed)

    adapted = both(0)
    train(adapted, batch)
    write(tmp_path, adapted, card_of(adapted), {})
    restored = both(1)
    restore(tmp_path, restored)
    assert torch.equal(quantiles(restored, batch), quantiles(adapted, batch))
    for file, part in (("adapter_model", ".lora_"), ("modules", "norm.weight")):
        names = load_file(tmp_path / f"{file}.safetensors")
        assert names
        assert all(part in name for name in names)


def test_the_card_comes_back_as_it_was_written(written):
    adapted, folder = written
    card = card_of(adapted, rate_hz=1 / 300, revision="abc", quantiles=(0.05, 0.5))
    assert read_card(folder) == card_of(adapted)
    write(folder, adapted, card, {})
    assert read_card(folder) == card
    assert json.loads((folder / "bundle.json").read_text())["format_version"] == FORMAT_VERSION


def test_texts_are_kept_and_nothing_in_the_folder_is_a_pickle(written):
    _, folder = written
    assert (folder / "recipe.yaml").read_text(encoding="utf-8") == "name: α\n"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("adapter_config.json", "adapter_model.safetensors", "bundle.json"),
        *("fitted.safetensors", "recipe.yaml"),
    ]
    for path in folder.iterdir():
        start = path.read_bytes()[:2]
        assert start not in (b"PK", b"\x80\x02", b"\x80\x04"), path.name  # zip of torch, pickle


def test_numbers_fitted_on_train_come_back(tmp_path):
    deviation = torch.tensor([3.25, float("nan")])
    adapted = AdaptedModel(Chronos2.tiny(), [lora.Config(rank=2).build()], deviation)
    write(tmp_path, adapted, card_of(adapted), {})
    found = fitted(tmp_path)["deviation"]
    assert torch.equal(found.nan_to_num(-1), deviation.nan_to_num(-1))


def test_the_card_is_written_last_so_that_half_a_bundle_is_none(tmp_path, monkeypatch):
    adapted = fresh()
    monkeypatch.setattr(
        "tsfm_adapt.runs.bundle._json", functools.partial(_fail_on_card, json.dumps)
    )
    with pytest.raises(OSError, match="stopped"):
        write(tmp_path, adapted, card_of(adapted), {"recipe.yaml": "name: x"})
    with pytest.raises(DataError, match=r"is no bundle: bundle\.json is missing"):
        read_card(tmp_path)


def _fail_on_card(dumps, content):
    if "base_sha256" in content:
        raise OSError("stopped")
    return dumps(content, default=str)


def test_other_base_weights_are_refused_by_hash(written):
    adapted, folder = written
    other = AdaptedModel(Chronos2.tiny(seed=1), [lora.Config(rank=2).build()])
    before = [p.detach().clone() for p in other.parameters()]
    with pytest.raises(EnvironmentProblem) as told:
        restore(folder, other)
    message = str(told.value)
    assert adapted.base_sha256[:12] in message
    assert other.base_sha256[:12] in message
    assert "'tiny'" in message
    assert "Fetch that base" in message
    assert all(torch.equal(p, b) for p, b in zip(other.parameters(), before, strict=True))


def test_one_changed_bit_of_the_base_is_another_base(written):
    _, folder = written
    backbone = fresh().backbone
    with torch.no_grad():
        weight = next(p for n, p in backbone.network.named_parameters() if "lora" not in n)
        weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(1e9))
    changed = Chronos2(_without_lora(backbone), checkpoint="tiny")
    with pytest.raises(EnvironmentProblem, match="sha256"):
        restore(folder, AdaptedModel(changed, [lora.Config(rank=2).build()]))


def _without_lora(backbone):
    lora.Config(rank=2).build().merge(backbone)  # untrained: nothing is added
    return backbone.model


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "fitted.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "empty"])
def test_a_broken_file_is_named(written, file, damage):
    _, folder = written
    path = folder / file
    whole = path.read_bytes()
    contents = {"truncated": whole[:-40], "garbage": b"\xff" * 200, "empty": b""}
    path.unlink() if damage == "missing" else path.write_bytes(contents[damage])
    with pytest.raises(DataError, match=rf"{file}' is missing or broken"):
        fitted(folder) if file == "fitted.safetensors" else restore(folder, fresh())


@pytest.mark.parametrize("config", [lora.Config(rank=3), lora.Config(rank=2, sites=("attn.q",))])
def test_weights_of_another_shape_or_name_are_refused(written, config):
    _, folder = written
    with pytest.raises(RecipeError, match=r"do not fit this model: \d+ tensors differ"):
        restore(folder, model(adapters=[config.build()]))


def test_a_newer_format_is_refused_with_the_way_out(written):
    _, folder = written
    content = json.loads((folder / "bundle.json").read_text()) | {"format_version": 2}
    (folder / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"format 2; this version reads 1. Update tsfm-adapt"):
        read_card(folder)


def test_a_field_of_a_later_release_is_ignored(written):
    adapted, folder = written
    content = json.loads((folder / "bundle.json").read_text()) | {"conformal": True}
    (folder / "bundle.json").write_text(json.dumps(content))
    assert read_card(folder) == card_of(adapted)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", "null", "{}", '{"format_version": 1}', '{"format_version": 1, "units": 3}'],
    ids=repr,
)
def test_a_card_that_says_too_little_is_no_bundle(tmp_path, content):
    (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(DataError, match="is no bundle"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    "name", ["lora everywhere", "lora in one block", "adalora", "vera", "fourierft", "ia3"]
)
@pytest.mark.filterwarnings("ignore:Specified to not")  # VeRA: A and B come from the seed
def test_peft_puts_the_adapter_onto_upstreams_own_class(tmp_path, batch, name):
    from chronos.chronos2 import Chronos2Model
    from peft import PeftModel

    adapted = fresh(name)
    _without_lora(fresh("lora everywhere").backbone).save_pretrained(tmp_path / "base")
    train(adapted, batch)
    write(tmp_path / "bundle", adapted, card_of(adapted, checkpoint=str(tmp_path / "base")), {})
    base = Chronos2Model.from_pretrained(tmp_path / "base")
    upstream = PeftModel.from_pretrained(base, tmp_path / "bundle").eval()
    with torch.no_grad():
        theirs = upstream(
            context=batch.values.masked_fill(~batch.observed, float("nan")).flatten(0, 1),
            group_ids=torch.arange(2).repeat_interleave(2),
            num_output_patches=2,
        ).quantile_preds
    assert LEVELS == (0.1, 0.5, 0.9)
    theirs = theirs.reshape(2, 2, 9, 32)[:, :, [0, 4, 8], :20]
    assert_near(theirs, quantiles(adapted, batch), relative=1e-6)


def test_peft_is_told_which_base_the_adapter_needs(written):
    _, folder = written
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["peft_type"] == "LORA"
    assert (config["r"], config["lora_alpha"]) == (2, 16.0)


# Adapters that know channels and subjects

ABOUT_CHANNELS = {
    "mixer": channel_mixer.Config(width=8),
    "pca": channel_projector.Config(form="pca", latents=2),
    "projector": channel_projector.Config(latents=2),
    "variational": channel_projector.Config(form="variational"),
    "pair": surrogate_pair.Config(),
    "affine": affine.Config(),
    "personal affine": affine.Config(per="subject"),
    "prompts of channels": prompt.Config(per="channel", depth="deep"),
    "generated prompts": generated_prompt.Config(aggregator="rnn", width=8),
}
# In the encoder there are the latents and surrogates, whichever is named first.
TOGETHER = {
    "latents, mixed": (ABOUT_CHANNELS["pca"], ABOUT_CHANNELS["mixer"]),
    "mixed, latents": (ABOUT_CHANNELS["mixer"], ABOUT_CHANNELS["pca"]),
    "prompts of surrogates": (ABOUT_CHANNELS["pair"], ABOUT_CHANNELS["prompts of channels"]),
}
SETTING = Setting(("c0", "c1", "c2"), ("p0", "p1"))


def about_channels(name, setting=SETTING, seed=0):
    configs = TOGETHER.get(name) or (ABOUT_CHANNELS[name],)
    return model(adapters=[config.build() for config in configs], seed=seed, setting=setting)


def card_about(adapted):
    return card_of(
        adapted,
        channels=adapted.setting.channels,
        units=("1",) * 3,
        subjects=adapted.setting.subjects,
    )


@pytest.mark.parametrize("name", [*ABOUT_CHANNELS, *TOGETHER])
def test_what_was_fitted_and_trained_comes_back_together(tmp_path, name):
    batch = random_batch(windows=2, channels=3, samples=40, horizon=16)
    adapted = about_channels(name)
    adapted.fit(train_windows())
    train(adapted, batch, steps=2)
    write(tmp_path, adapted, card_about(adapted), {})
    restored = about_channels(name, seed=1)
    before = quantiles(restored, batch)
    restore(tmp_path, restored)
    assert torch.equal(quantiles(restored, batch), quantiles(adapted, batch))
    assert not torch.equal(before, quantiles(adapted, batch))
    for buffer, tensor in adapted.fitted().items():
        assert torch.equal(restored.fitted()[buffer], tensor), buffer


@pytest.mark.parametrize("channels", [("c0", "c2", "c1"), ("c0", "c1"), ("c0", "c1", "HR")])
def test_a_bundle_of_other_channels_is_refused_by_name(tmp_path, channels):
    adapted = about_channels("mixer")
    write(tmp_path, adapted, card_about(adapted), {})
    other = about_channels("mixer", Setting(channels))
    before = [p.detach().clone() for p in other.parameters()]
    told = rf"trained on channels c0, c1, c2; the model is for {', '.join(channels)}\. Give"
    with pytest.raises(RecipeError, match=told):
        restore(tmp_path, other)
    assert all(torch.equal(p, b) for p, b in zip(other.parameters(), before, strict=True))


@pytest.mark.parametrize("subjects", [("p1", "p0"), ("p0",), ("p0", "p2")])
def test_a_bundle_of_other_subjects_is_refused_where_each_has_parameters(tmp_path, subjects):
    for name in ("affine", "personal affine"):
        adapted = about_channels(name)
        write(tmp_path / name, adapted, card_about(adapted), {})
    others = replace(SETTING, subjects=subjects)
    restore(tmp_path / "affine", about_channels("affine", others))
    with pytest.raises(RecipeError, match="parameters for each of 2 subjects"):
        restore(tmp_path / "personal affine", about_channels("personal affine", others))
