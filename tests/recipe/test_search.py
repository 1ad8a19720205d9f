"""A search in words, and searches that cannot be made."""

import pytest

from contracts.search_text import NESTED, read
from tsfm_adapt.errors import RecipeError


def test_the_space_is_told_in_words():
    assert read(NESTED).search.lines() == [
        "search: 12 trials by validation loss, sampler tpe, pruner median",
        "  train.lr: 0.0001 to 0.01, log",
        "  train.clip: None | 0.5 | 1.0",
        "  train.batch_size: 8 to 64 by 8",
        "  adapters: lora | prompt",
        "    adapters.lora.alpha: 8.0 | 16.0  (if lora)",
        '    adapters.lora.sites: ["attn.q", "attn.v"] | ["attn.q", "attn.k", "attn.v"]'
        "  (if lora)",
        "    adapters.prompt.tokens: 2 to 16  (if prompt)",
    ]


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("{sampler: grid, space: {train.lr: {low: 0.1, high: 0.2}}}", "wants a step and no log"),
        ("{sampler: grid, trials: 3, space: {train.steps: {low: 1, high: 4}}}", "has 4 points"),
        ("{sampler: tpe}", "search.space: missing"),
        ("{space: {}}", "search.space"),
        ("{trials: 0, space: {train.steps: {low: 1, high: 4}}}", "search.trials"),
        ("{sampler: best, space: {train.steps: {low: 1, high: 4}}}", "search.sampler.*'tpe'"),
        ("{pruner: best, space: {train.steps: {low: 1, high: 4}}}", "search.pruner.*'median'"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(search, said):
    with pytest.raises(RecipeError, match=said):
        read(search)


def test_behind_a_head_every_adapter_is_trained_with_the_same_loss():
    space = "adapters: {choices: [[{name: lora}], [{name: lora}, {name: affine}]]}"
    recipe = read(f"{{space: {{{space}}}}}", "head={name: linear_forecast}")
    assert recipe.search.metric == "loss"
    with pytest.raises(RecipeError, match="changes what the loss measures"):
        read(f"{{space: {{{space}}}}}")
