"""A space is tried when the recipe is read, and all it draws are recipes."""

import random

import pytest

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import dumps, loads
from tsfm_adapt.recipe.search import without_search

RECIPE = """
name: small
data:
  reader: {name: synthetic, subjects: 6, hours: 8}
  channels: {HR: bpm, SpO2: "%"}
  rate_hz: 1/60
backbone: {name: chronos2}
adapters: [{name: lora, rank: 4, alpha: 8.0}]
task: {name: forecast, context_s: 7200, horizon_s: 1800}
train: {steps: 20, lr: 0.001}
"""

NESTED = """{
  trials: 12,
  space: {
    train.lr: {low: 1.0e-4, high: 1.0e-2, log: true},
    train.clip: {choices: [null, 0.5, 1.0]},
    train.batch_size: {low: 8, high: 64, step: 8},
    adapters: {options: {
      lora: {
        value: [{name: lora, rank: 4}],
        space: {
          adapters.lora.alpha: {choices: [8.0, 16.0]},
          adapters.lora.sites: {choices: [[attn.q, attn.v], [attn.q, attn.k, attn.v]]}}},
      prompt: {
        value: [{name: prompt}],
        space: {adapters.prompt.tokens: {low: 2, high: 16}}}}}}}"""

GRID = """{
  sampler: grid,
  trials: 14,
  space: {
    train.steps: {low: 10, high: 20, step: 10},
    adapters: {options: {
      lora: {
        value: [{name: lora}],
        space: {adapters.lora.rank: {choices: [2, 4]}, adapters.lora.alpha: {choices: [8, 16]}}},
      prompt: {value: [{name: prompt}], space: {adapters.prompt.tokens: {low: 2, high: 4}}}}}}}"""


def read(search, *sets):
    return loads(RECIPE, [f"search={search}", *sets])


class Chance:
    """Draws as a study would; ends of ranges come up often."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self.names = []

    def suggest_float(self, name, low, high, *, step, log):
        self.names.append(name)
        assert step is None
        return self._random.choice([low, high, self._random.uniform(low, high)])

    def suggest_int(self, name, low, high, *, step, log):
        self.names.append(name)
        return self._random.randrange(low, high + 1, step)

    def suggest_categorical(self, name, choices):
        self.names.append(name)
        assert all(c is None or isinstance(c, str | int | float) for c in choices)
        return self._random.choice(choices)


def test_all_that_is_drawn_are_recipes_that_differ_in_the_space_only():
    recipe = read(NESTED)
    plain, seen = without_search(recipe), set()
    for seed in range(30):
        changes = recipe.search.draw(Chance(seed))
        drawn = plain.override(changes)
        adapter = drawn.adapters[0]
        seen.add(adapter.name)
        assert drawn.train.lr == changes["train.lr"]
        assert drawn.train.clip == changes["train.clip"]
        assert drawn.train.batch_size % 8 == 0
        if adapter.name == "lora":
            assert adapter.alpha == changes["adapters.lora.alpha"]
            assert list(adapter.sites) == changes["adapters.lora.sites"]
            assert adapter.rank == 4
        else:
            assert adapter.tokens == changes["adapters.prompt.tokens"]
        assert drawn.override({"train": plain.train, "adapters": plain.adapters}) == plain
    assert seen == {"lora", "prompt"}


def test_parameters_of_options_have_names_of_their_own():
    inner = "space: {train.lr: {low: 0.001, high: 0.01}}"
    recipe = read(
        f"{{space: {{adapters: {{options: {{a: {{value: [{{name: lora}}], {inner}}}, "
        f"b: {{value: [{{name: prompt}}], {inner}}}}}}}}}}}"
    )
    names = {
        tuple(chance.names) for chance in map(Chance, range(20)) if recipe.search.draw(chance)
    }
    assert names == {
        ("adapters", "train.lr if adapters=a"),
        ("adapters", "train.lr if adapters=b"),
    }


def test_reading_and_drawing_leave_the_options_as_they_were_written():
    recipe = read(NESTED)
    written = loads(dumps(recipe))
    for seed in range(10):
        without_search(recipe).override(recipe.search.draw(Chance(seed)))
    assert recipe == written
    assert dumps(recipe) == dumps(written)
    assert recipe.search.space["adapters"].options["lora"].value == [{"name": "lora", "rank": 4}]


def test_the_recipe_as_it_stands_is_a_point_where_the_space_holds_it():
    recipe = read(NESTED)
    assert recipe.search.as_it_stands(recipe) == {
        **{"train.lr": 0.001, "train.clip": 1.0, "train.batch_size": 32},
        **{"adapters": "lora", "adapters.lora.alpha if adapters=lora": 8.0},
        "adapters.lora.sites if adapters=lora": '["attn.q", "attn.v"]',
    }
    for outside in ("train.lr=0.5", "train.clip=2.0", "train.batch_size=12"):
        other = read(NESTED, outside)
        assert other.search.as_it_stands(other) is None
    other = read(NESTED, "adapters=[{name: lora, rank: 3, alpha: 8.0}]")
    assert other.search.as_it_stands(other) is None


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


def test_a_grid_has_every_point_once():
    search = read(GRID).search
    points = search.points()
    assert len(points) == search.planned == 2 * (2 * 2 + 3)
    assert len({tuple(sorted(point.items())) for point in points}) == 14
    assert sum(point["adapters"] == "prompt" for point in points) == 6


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (
            "adapters.lora.rank: {low: 0, high: 4}",
            r"adapters.lora.rank: low 0 breaks a rule.*equal to 1, found 0",
        ),
        ("train.warmup: {low: 0.0, high: 1.0}", r"train.warmup: high 1.0 breaks a rule"),
        ("train.precision: {choices: [32-true, 8-bit]}", r"precision: choice 8-bit breaks a rule"),
        ("adapters.lora.rnk: {low: 1, high: 4}", r"no such key. Did you mean 'rank'"),
        ("adapters.prompt.tokens: {low: 1, high: 4}", r"no single entry 'prompt' among \[lora\]"),
        ("head.dropout: {low: 0.0, high: 0.5}", r"head.dropout: low 0.0 breaks a rule: head.name"),
        ("train.lr: {low: 0.1}", r"low is below high, found 0.1 and None"),
        ("train.lr: {low: 0.1, high: 0.01}", r"low is below high"),
        ("train.lr: {low: 0.0, high: 0.1, log: true}", r"log wants low above 0"),
        ("train.steps: {low: 10, high: 25, step: 10}", r"a whole number of steps"),
        ("train.weight_decay: {low: 0, high: 1}", r"the value may be a fraction"),
        ("train.lr: {choices: [0.1]}", r"two different values"),
        ("train.lr: {choices: [0.1, 0.1]}", r"two different values"),
        ("train.lr: {choices: [0.1, 0.2], log: true}", r"belong to low and high"),
        ("train.lr: {low: 0.1, high: 0.2, choices: [0.1, 0.2]}", r"either low and high"),
        ("train.lr: {}", r"either low and high, or choices, or options"),
        ("data.rate_hz: {choices: [0.1, 0.2]}", r"data.rate_hz cannot vary.*different data"),
        ("task.context_s: {choices: [3600, 7200]}", r"task.context_s cannot vary"),
        ("seed: {low: 1, high: 9}", r"seed cannot vary"),
        ("train.val_windows: {low: 10, high: 90}", r"train.val_windows cannot vary"),
        ("train: {choices: [{steps: 1}, {steps: 2}]}", r"space.train cannot vary"),
        ("backbone.name: {choices: [chronos2, chronos_bolt]}", r"Set search.metric to score"),
        (
            "adapters: {choices: [[{name: lora}], [{name: affine}]]}",
            r"changes what the loss measures",
        ),
        (
            "adapters: {choices: [[{name: lora}], [{name: prompt}]]}, "
            "adapters.lora.rank: {low: 1, high: 4}",
            r"vary the same part of the recipe",
        ),
        (
            "adapters: {options: {a: {value: [{name: lora}], "
            "space: {adapters.lora.rank: {low: 0, high: 4}}}, b: {value: []}}}",
            r"adapters.lora.rank: low 0 breaks a rule",
        ),
    ],
)
def test_what_a_space_may_not_hold_is_refused_by_path_and_value(space, said):
    with pytest.raises(RecipeError, match=rf"(?s)^search.*{said}"):
        read(f"{{space: {{{space}}}}}")


@pytest.mark.parametrize(
    "space",
    [
        "backbone.name: {choices: [chronos2, chronos_bolt]}",
        "adapters: {choices: [[{name: lora}], [{name: affine}]]}",
    ],
)
def test_a_score_compares_what_losses_cannot(space):
    assert read(f"{{metric: score, space: {{{space}}}}}").search.metric == "score"


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
