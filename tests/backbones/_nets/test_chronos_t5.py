"""Chronos-T5's bins of values, and paths that share the encoder's states of their series."""

import pytest
import torch

from contracts.batch import assert_near, roughened
from tsfm_adapt.backbones._nets.chronos_t5 import LEVELS, Bins, PathDecoder
from tsfm_adapt.backbones.chronos_t5 import ChronosT5

SETTINGS = {
    "tokenizer_class": "MeanScaleUniformBins",
    "tokenizer_kwargs": {"low_limit": -1.0, "high_limit": 1.0},
    "context_length": 8,
    "prediction_length": 4,
    "n_tokens": 8,
    "n_special_tokens": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "use_eos_token": True,
    "model_type": "seq2seq",
    "num_samples": 1,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
}


def bins(**changes):
    from chronos import ChronosConfig

    settings = ChronosConfig(**SETTINGS | changes)
    return Bins(settings, settings.create_tokenizer())


def one(token):
    """Logits by which a token is certain."""
    logits = torch.full((1, 1, 8), -torch.inf)
    logits[..., token] = 0.0
    return logits


def test_probabilities_are_of_bins_alone_and_sum_to_one():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8)
    made = bins()
    found = made.probabilities(logits)
    centers = made.centers(logits.device)
    assert found.shape == (2, 3, len(centers))
    assert_near(found, logits[..., 8 - len(centers) :].softmax(-1))
    expected = sum(p * c for p, c in zip(found.unbind(-1), centers, strict=True))
    assert_near(made.mean(found), expected)


def test_a_token_is_the_middle_of_its_bin_times_the_scale():
    made = bins()
    centers = made.centers(torch.device("cpu"))
    tokens = torch.arange(3, 3 + len(centers))[None, None]
    values = made.values(tokens, torch.tensor([2.0]))
    assert_near(values[0, 0], 2 * centers)


def test_a_certain_bin_is_drawn_is_nearest_and_holds_all_quantiles():
    made = bins()
    centers = made.centers(torch.device("cpu"))
    width = centers[1] - centers[0]
    for number, center in enumerate(centers):
        logits = one(3 + number)
        assert made.draw(logits.clone()).item() == 3 + number
        assert made.nearest(logits).item() == 3 + number
        found = made.quantiles(made.probabilities(logits))[0, 0]
        expected = center + (torch.tensor(LEVELS) - 0.5) * width  # uniform in the bin
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_end_of_a_series_is_never_drawn():
    logits = torch.zeros(1, 500, 8)
    logits[..., 1] = 20.0
    assert (bins().draw(logits) != 1).all()


def test_only_the_likeliest_are_drawn_where_the_checkpoint_says_so():
    torch.manual_seed(0)
    logits = torch.arange(8.0).expand(1, 500, 8).clone()
    assert bins(top_k=2).draw(logits.clone()).unique().tolist() == [6, 7]
    assert len(bins(temperature=50.0).draw(logits.clone()).unique()) == 7


@pytest.fixture
def decoder():
    model = roughened(ChronosT5.tiny()).model.eval()
    return model, PathDecoder(model)


def encoded(model, series=2, length=6):
    torch.manual_seed(3)
    states = torch.randn(series, length, model.config.d_model)
    visible = torch.ones(series, length, dtype=torch.long)
    visible[1, :2] = 0
    return states, visible


def test_logits_are_upstreams_with_a_row_a_path(decoder):
    """Upstream holds the encoder's states once for every path."""
    from transformers.modeling_outputs import BaseModelOutput

    model, paths = decoder
    states, visible = encoded(model)
    tokens = torch.randint(3, model.config.vocab_size, (2, 3, 5))
    with torch.no_grad():
        found = paths.retraced(tokens, states, visible)
        start = torch.full((6, 1), model.config.decoder_start_token_id)
        expected = model(
            encoder_outputs=BaseModelOutput(states.repeat_interleave(3, 0)),
            attention_mask=visible.repeat_interleave(3, 0),
            decoder_input_ids=torch.cat([start, tokens.flatten(0, 1)[:, :-1]], dim=1),
        ).logits
    assert_near(found.flatten(0, 1), expected, relative=1e-4)


def test_rolled_out_token_by_token_it_says_what_it_says_of_all_at_once(decoder):
    model, paths = decoder
    states, visible = encoded(model)
    seen = []

    def pick(logits):
        seen.append(logits)
        return torch.randint(3, logits.shape[-1], logits.shape[:2])

    with torch.no_grad():
        tokens = paths.rolled_out(states, visible, steps=4, paths=3, pick=pick)
        again = paths.retraced(tokens, states, visible)
    assert tokens.shape == (2, 3, 4)
    assert_near(torch.stack(seen, dim=2), again, relative=1e-4)


def test_what_is_not_visible_changes_nothing(decoder):
    model, paths = decoder
    states, visible = encoded(model)
    tokens = torch.randint(3, model.config.vocab_size, (2, 3, 5))
    with torch.no_grad():
        before = paths.retraced(tokens, states, visible)
        states[1, :2] += 10
        assert_near(paths.retraced(tokens, states, visible), before, relative=1e-6)
