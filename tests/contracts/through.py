"""Laws of `through`: what prompts and mixers may do to the tokens inside any backbone."""

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from contracts.batch import (
    assert_near,
    assert_same,
    calls,
    differentiable,
    outputs,
    random_batch,
    reversed_in_time,
    select,
)

N_PROMPTS = 3


class Acting:
    """A `Through` that does what a test asks for and records what it was given.

    Args:
        prompt: (batch, layer) -> prompts or None.
        mix: (tokens, layer) -> tokens.
    """

    def __init__(self, prompt=lambda batch, layer: None, mix=lambda tokens, layer: tokens):
        self._prompt = prompt
        self._mix = mix
        self.asked = []  # (batch, layer), one a call of prefix
        self.beside = []  # (tokens, layer), one a call of prefix
        self.given = []  # (tokens, layer), one a call of tokens

    def prefix(self, batch, layer, tokens):
        self.asked.append((batch, layer))
        self.beside.append((tokens, layer))
        return self._prompt(batch, layer)

    def tokens(self, tokens, layer):
        self.given.append((tokens, layer))
        return self._mix(tokens, layer)


def prompts_at(layer_prompts):
    """The same prompts for every batch: {layer: prompts}."""
    return Acting(prompt=lambda batch, layer: layer_prompts.get(layer))


def entering(backbone, batch):
    """The data tokens (B, C, P, D) that enter the first block."""
    through = Acting()
    with torch.no_grad():
        backbone.encode(batch, through)
    return through.beside[0][0]


def difference(actual, expected):
    return (actual - expected).detach().abs().max().item()


class ThroughContract:
    """Inherited by `EncoderContract`, which supplies `backbone`."""

    @pytest.fixture
    def prompts(self, backbone):
        generator = torch.Generator().manual_seed(5)
        return torch.randn(N_PROMPTS, backbone.spec.width, generator=generator)

    def test_doing_nothing_changes_nothing(self, backbone):
        batch = random_batch()
        plain = outputs(backbone, batch)
        assert_same(outputs(backbone, batch, through=Acting()), plain)

    def test_putting_equal_tokens_back_changes_nothing(self, backbone):
        batch = random_batch()
        same_tokens = Acting(mix=lambda tokens, layer: tokens.clone())
        assert_same(outputs(backbone, batch, through=same_tokens), outputs(backbone, batch))

    @pytest.mark.parametrize("samples", [1, 70, 1000])
    def test_mixers_receive_the_data_tokens_of_every_layer(self, backbone, samples):
        batch = random_batch(samples=samples)
        batch_shape = backbone.encode(batch).tokens.shape
        for call in calls(backbone, batch, steps=2).values():
            through = Acting()
            call(through)
            assert [layer for _, layer in through.given] == list(range(backbone.spec.layers))
            assert {tokens.shape for tokens, _ in through.given} == {batch_shape}

    def test_mixers_never_see_the_prompts(self, backbone, prompts):
        batch = random_batch()
        without, with_prompts = Acting(), prompts_at({0: prompts})
        backbone.encode(batch, without)
        backbone.encode(batch, with_prompts)
        assert torch.equal(with_prompts.given[0][0], without.given[0][0])
        later = zip(with_prompts.given[1:], without.given[1:], strict=True)
        assert all(a.shape == b.shape for (a, _), (b, _) in later)

    def test_a_mixer_behind_a_closed_gate_changes_nothing(self, backbone):
        batch = random_batch()
        gate = torch.zeros((), requires_grad=True)
        gated = Acting(mix=lambda tokens, layer: tokens + gate * tokens.roll(1, dims=1))
        result = outputs(backbone, batch, through=gated)
        assert_same(result, outputs(backbone, batch))
        for part in differentiable(result):
            total = result[part].square().sum()
            (gradient,) = torch.autograd.grad(total, gate, retain_graph=True)
            assert gradient.abs() > 0, part

    def test_a_mixer_carries_one_channel_into_another(self, backbone):
        batch = random_batch(channels=2)
        turned = reversed_in_time(batch, channels=0)

        def influence(through):
            """What channel 0 does to the tokens and the forecast of channel 1."""
            before = outputs(backbone, batch, 8, through)
            after = outputs(backbone, turned, 8, through)
            parts = {"tokens", "forecast"} & before.keys()
            return {part: difference(after[part][:, 1], before[part][:, 1]) for part in parts}

        mixer = Acting(mix=lambda tokens, layer: tokens + tokens.flip(1))
        mixed, plain = influence(mixer), influence(Acting())
        assert mixed["tokens"] > 2 * plain["tokens"]
        assert all(mixed[part] > plain[part] for part in mixed)

    def test_prompts_change_every_output_and_no_shape(self, backbone, prompts):
        batch = random_batch()
        base, prompted = (
            outputs(backbone, batch),
            outputs(backbone, batch, through=prompts_at({0: prompts})),
        )
        for name in differentiable(base):
            assert prompted[name].shape == base[name].shape
            assert difference(prompted[name], base[name]) > 1e-5
        assert torch.equal(prompted["token_observed"], base["token_observed"])

    def test_prompts_for_all_or_for_each_window_or_series_mean_the_same(self, backbone, prompts):
        batch = random_batch()
        windows, channels = batch.values.shape[:2]
        shared = outputs(backbone, batch, through=prompts_at({0: prompts}))
        for each in (
            prompts.repeat(windows, 1, 1),
            prompts.repeat(windows, channels, 1, 1),
        ):
            assert_same(outputs(backbone, batch, through=prompts_at({0: each})), shared)

    def test_prompts_of_one_window_do_not_reach_another(self, backbone, prompts):
        batch = random_batch(windows=2)
        each = torch.stack([prompts, 2 * prompts])
        both = backbone.encode(batch, prompts_at({0: each}))
        for window in (0, 1):
            alone = select(batch, [window])
            single = backbone.encode(alone, prompts_at({0: each[window]}))
            seen = single.token_observed
            assert_near(both.tokens[window : window + 1][seen], single.tokens[seen])

    def test_gradients_reach_every_prompt_of_every_layer(self, backbone, prompts):
        batch = random_batch()
        layers = range(backbone.spec.layers)
        deep = {layer: prompts.clone().requires_grad_() for layer in layers}
        result = outputs(backbone, batch, through=prompts_at(deep))
        for part in differentiable(result):
            gradients = torch.autograd.grad(
                result[part].square().sum(), deep.values(), retain_graph=True, allow_unused=True
            )
            # What layer 0 made of its prompts is overwritten in layer 1 but seen inside layer 0.
            for layer, gradient in zip(layers, gradients, strict=True):
                assert gradient is not None, (part, layer)
                assert gradient.isfinite().all()
                assert (gradient.abs().amax(dim=1) > 0).all(), (part, layer)

    def test_deeper_prompts_take_the_place_of_what_the_first_became(self, backbone, prompts):
        batch = random_batch()
        first = prompts_at({0: prompts})
        deep = prompts_at({0: prompts, 1: 3 * prompts})
        shallow, deeper = backbone.encode(batch, first).tokens, backbone.encode(batch, deep).tokens
        assert shallow.shape == deeper.shape
        assert difference(deeper, shallow) > 1e-5

    def test_fewer_deeper_prompts_leave_the_later_ones_to_flow_on(self, backbone, prompts):
        """The first of two prompts is renewed; the second is neither overwritten nor dropped."""
        batch = random_batch()

        def encoded(deeper, last):
            first = torch.stack([prompts[0], last])
            return backbone.encode(batch, prompts_at({0: first, 1: deeper})).tokens

        renewed, other = prompts[1:2], prompts[2:3]
        before = encoded(renewed, prompts[1])
        assert difference(encoded(other, prompts[1]), before) > 1e-5
        assert difference(encoded(renewed, -prompts[1]), before) > 1e-5
        both = torch.cat([renewed, renewed])
        assert difference(encoded(both, prompts[1]), before) > 1e-5
        with pytest.raises(ValueError, match="there were 2 prompts, but 3 before block 1"):
            encoded(prompts, prompts[1])

    @pytest.mark.parametrize("samples", [1, 70, 1200])
    def test_prompts_are_given_the_data_tokens_that_they_stand_before(self, backbone, samples):
        batch = random_batch(samples=samples)
        plain, prompted = Acting(), prompts_at({0: torch.ones(2, backbone.spec.width)})
        for through in (plain, prompted):
            backbone.encode(batch, through)
            (beside, layer), *_ = through.beside
            assert layer == 0
            assert torch.equal(beside, plain.given[0][0])

    def test_prompts_may_be_computed_by_the_backbone_itself(self, backbone):
        batch = random_batch()

        def summary(batch, layer):
            return backbone.encode(batch).tokens.mean(2, keepdim=True) if layer == 0 else None

        nested = Acting(prompt=summary)
        beforehand = prompts_at({0: summary(batch, 0)})
        assert_same(
            outputs(backbone, batch, through=nested), outputs(backbone, batch, through=beforehand)
        )

    def test_an_error_inside_leaves_the_backbone_plain(self, backbone, prompts):
        batch = random_batch()
        before = outputs(backbone, batch)

        def fail(tokens, layer):
            raise ArithmeticError("from inside")

        failing = Acting(prompt=lambda batch, layer: prompts, mix=fail)
        with pytest.raises(ArithmeticError, match="from inside"):
            backbone.encode(batch, failing)
        assert_same(outputs(backbone, batch), before)

    def test_two_threads_do_not_see_each_others_adapters(self, backbone, prompts):
        batch = random_batch()
        in_step = Barrier(2, timeout=60)

        def encode(own, factor, wait):
            def mix(tokens, layer):
                wait()  # both threads are inside the same layer
                return factor * tokens

            through = Acting(lambda batch, layer: own if layer == 0 else None, mix)
            return backbone.encode(batch, through).tokens.detach()

        different = [(prompts, 1.0), (prompts[:1], 0.5)]
        alone = [encode(own, factor, lambda: None) for own, factor in different]
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(encode, own, factor, in_step.wait) for own, factor in different]
            together = [run.result() for run in runs]
        for result, expected in zip(together, alone, strict=True):
            assert_near(result, expected, relative=1e-6)
        assert difference(*together) > 1e-3

    def test_a_copy_takes_prompts_of_its_own_and_shares_no_weights(self, backbone, prompts):
        batch, through = random_batch(), prompts_at({0: prompts})
        before = outputs(backbone, batch, through=through)
        twin = copy.deepcopy(backbone)
        assert_same(outputs(twin, batch, through=through), before)
        with torch.no_grad():
            for parameter in twin.network.parameters():
                parameter.zero_()
        assert_same(outputs(backbone, batch, through=through), before)
