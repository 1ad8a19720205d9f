from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import torch
from pydantic import ValidationError

from contracts.adapter import SETTING, AdapterContract, quantiles, train
from contracts.batch import assert_near, random_batch, reversed_in_time, roughened, select
from contracts.generators import padded
from contracts.through import entering
from tsfm_adapt.adapters import full, generated_prompt, prompt
from tsfm_adapt.adapters._prompts import token_observed
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.backbones.timesfm import TimesFM
from tsfm_adapt.model import AdaptedModel

AGGREGATORS = ("mlp", "rnn", "attention")


class TestGeneratedPrompt(AdapterContract):
    config = generated_prompt.Config(tokens=2)
    merges = False  # nothing in the base weights stands for more tokens


class TestByRecurrence(AdapterContract):
    config = generated_prompt.Config(tokens=2, aggregator="rnn", width=8, depth="shallow")
    merges = False


class TestByAttention(AdapterContract):
    config = generated_prompt.Config(tokens=2, aggregator="attention", width=16)
    merges = False


def generating(backbone, others=(), seed=0, **settings):
    torch.manual_seed(seed)
    adapters = [generated_prompt.Config(**settings).build(), *others]
    return AdaptedModel(backbone, adapters, setting=SETTING)


def small_batch(**changes):
    return random_batch(**({"windows": 2, "channels": 3, "samples": 70} | changes))


# In a backbone


@pytest.mark.parametrize("depth", ["shallow", "deep"])
def test_with_nothing_made_it_is_a_prompt(depth):
    """The paper's special case: a constant generator is P-tuning v2."""
    batch = small_batch()
    model = generating(roughened(Chronos2.tiny()), tokens=2, depth=depth)
    net = model.adapters[0].module["generator"]
    with torch.no_grad():
        net.leave.weight.zero_()
    constant = prompt.Config(tokens=6, depth=depth).build()
    other = AdaptedModel(roughened(Chronos2.tiny()), [constant], setting=SETTING)
    with torch.no_grad():
        constant.module.prompts.copy_(net.base.repeat(3, 1))
    assert_near(quantiles(model, batch), quantiles(other, batch), relative=1e-6)


def test_a_backbone_of_single_channels_learns_of_the_others():
    backbone, batch = roughened(ChronosBolt.tiny()), small_batch()
    turned = reversed_in_time(batch, channels=0)
    plain = AdaptedModel(roughened(ChronosBolt.tiny()))
    assert torch.equal(quantiles(plain, turned)[:, 1], quantiles(plain, batch)[:, 1])
    model = generating(backbone)
    train(model, batch)
    gap = (quantiles(model, turned)[:, 1] - quantiles(model, batch)[:, 1]).abs().max()
    assert gap > 1e-3


def test_windows_do_not_meet_and_channels_may_be_fewer():
    model, batch = generating(roughened(ChronosBolt.tiny())), small_batch()
    assert_near(quantiles(model, select(batch, [1])), quantiles(model, batch)[1:])
    assert quantiles(model, select(batch, channels=[2])).isfinite().all()


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_every_series_has_the_prompts_of_all_channels_at_every_layer(aggregator):
    model, batch = generating(Moment.tiny(), tokens=2, aggregator=aggregator), small_batch()
    sizes = model.fitted()["modules_of_adapters.0.sizes"]
    tokens = entering(model.backbone, batch)
    first, second = (model.prefix(batch, layer, tokens) for layer in (0, 1))
    assert first.shape == (2, 3 * 2, 32)
    assert_near(second / sizes[1], first / sizes[0], relative=1e-6)
    observed = token_observed(model.backbone, batch, tokens.shape[2])
    expected = model.adapters[0].module["generator"](tokens / sizes[0], observed)
    assert torch.equal(first, sizes[0] * expected)
    shallow = generating(Moment.tiny(), depth="shallow")
    assert shallow.prefix(batch, 1, tokens) is None


def test_beyond_one_pass_prompts_are_made_once_a_pass_from_what_was_fed_back(monkeypatch):
    model, batch, made = generating(roughened(ChronosBolt.tiny())), small_batch(), []
    adapter = model.adapters[0]
    once = adapter._made_of

    def counted(tokens, each):
        made.append(each)
        return once(tokens, each)

    monkeypatch.setattr(adapter, "_made_of", counted)
    model.forecast(batch, 150)
    assert [each.size for each in made] == [2, 2 * 9, 2 * 9]  # nine paths
    assert [each.values.shape[-1] for each in made] == [70, 70 + 64, 70 + 2 * 64]


def test_deeper_prompts_are_never_those_of_another_batch():
    model, batch, other = generating(Moment.tiny()), small_batch(seed=1), small_batch(seed=2)
    tokens, others = (entering(model.backbone, each) for each in (batch, other))
    expected = [model.prefix(other, layer, others) for layer in (0, 1)][1]
    with pytest.raises(RuntimeError, match="no prompts were made of this batch before block 1"):
        model.prefix(other, 1, others)  # the pass that they were made in is over
    model.prefix(batch, 0, tokens)
    with pytest.raises(RuntimeError, match="no prompts were made of this batch before block 1"):
        model.prefix(other, 1, others)
    model.prefix(other, 0, others)
    assert torch.equal(model.prefix(other, 1, others), expected)


def test_two_generators_in_one_model_have_prompts_of_their_own():
    batch = small_batch()
    others = [generated_prompt.Config(tokens=1).build()]
    model = generating(roughened(Moment.tiny()), others, tokens=2)
    tokens = entering(model.backbone, batch)
    for layer in (0, 1):
        both = model.prefix(batch, layer, tokens)
        assert both.shape == (2, 3, 3 * 2 + 3 * 1, 32)
    alone = generating(roughened(Moment.tiny()), tokens=2)
    assert_near(both[:, 0, :6], [alone.prefix(batch, n, tokens) for n in (0, 1)][1], 1e-6)


def test_two_threads_have_prompts_of_their_own():
    model, in_step = generating(roughened(Chronos2.tiny())), Barrier(2, timeout=60)
    batches = [small_batch(seed=seed) for seed in (1, 2)]

    def encode(batch, wait):
        class Through:
            def prefix(self, batch, layer, tokens):
                wait()  # both threads are before the same layer
                prompts = model.prefix(batch, layer, tokens)
                wait()
                return prompts

            def tokens(self, tokens, layer):
                return tokens

        with torch.no_grad():
            return model.backbone.encode(batch, Through()).tokens

    alone = [encode(batch, lambda: None) for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(encode, batch, in_step.wait) for batch in batches]
        for run, expected in zip(runs, alone, strict=True):
            assert_near(run.result(), expected, relative=1e-6)


def test_prompts_stand_behind_the_padding():
    model, batch = generating(roughened(TimesFM.tiny())), small_batch(samples=40)
    longer = replace(
        batch,
        values=padded(batch.values, 64, 99.0),
        observed=padded(batch.observed, 64, False),
    )
    assert_near(quantiles(model, longer), quantiles(model, batch), relative=1e-5)


def test_what_is_to_be_filled_in_reaches_no_prompt():
    model, batch = generating(roughened(Moment.tiny())), small_batch()
    hidden = torch.zeros_like(batch.observed)
    hidden[..., 20:33] = True
    secret = replace(batch, values=batch.values.where(~hidden, 9999.0))
    estimates = [model.backbone.reconstruct(each, hidden, model) for each in (batch, secret)]
    assert torch.equal(*(estimate.quantiles((0.5,)) for estimate in estimates))


def test_the_embedding_learns_nothing_through_the_prompts():
    """With another adapter that trains it, its gradient is that of the data tokens alone."""
    batch, gradients = small_batch(), []
    for constant in (False, True):
        model = generating(roughened(Chronos2.tiny()), [full.Config().build()])
        if constant:
            tokens = entering(model.backbone, batch)
            prompts = [model.prefix(batch, layer, tokens).detach() for layer in (0, 1)]
            model.adapters[0].prefix = lambda batch, layer, tokens, prompts=prompts: prompts[layer]
        model(batch).backward()
        embedding = model.backbone.model.input_patch_embedding
        gradients.append([p.grad for p in embedding.parameters()])
    for with_prompts, without in zip(*gradients, strict=True):
        assert torch.equal(with_prompts, without)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tokens": 0}, "tokens is 0: without prompts the method is a linear probe, which needs"),
        ({"tokens": -1}, "tokens"),
        ({"aggregator": "mean"}, "aggregator"),
        ({"width": 32, "heads": 5}, "heads must divide width, but 32 / 5 is no whole number"),
        ({"spans": 0}, "spans"),
        ({"per": "channel"}, "per"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(settings, match):
    with pytest.raises(ValidationError, match=match):
        generated_prompt.Config(**settings)
