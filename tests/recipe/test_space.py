"""A space is tried when the recipe is read, and all it draws are recipes."""

import random

import pytest

from contracts.search_text import GRID, NESTED, read
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe import space
from tsfm_adapt.recipe.files import dumps, loads


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
    plain, seen = recipe.without_search(), set()
    for seed in range(30):
        changes = space.draw(recipe.search, Chance(seed))
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
        tuple(chance.names)
        for chance in map(Chance, range(20))
        if space.draw(recipe.search, chance)
    }
    assert names == {
        ("adapters", "train.lr if adapters=a"),
        ("adapters", "train.lr if adapters=b"),
    }


def test_reading_and_drawing_leave_the_options_as_they_were_written():
    recipe = read(NESTED)
    written = loads(dumps(recipe))
    for seed in range(10):
        recipe.without_search().override(space.draw(recipe.search, Chance(seed)))
    assert recipe == written
    assert dumps(recipe) == dumps(written)
    assert recipe.search.space["adapters"].options["lora"].value == [{"name": "lora", "rank": 4}]


def test_the_recipe_as_it_stands_is_a_point_where_the_space_holds_it():
    recipe = read(NESTED)
    assert space.as_it_stands(recipe.search, recipe) == {
        **{"train.lr": 0.001, "train.clip": 1.0, "train.batch_size": 32},
        **{"adapters": "lora", "adapters.lora.alpha if adapters=lora": 8.0},
        "adapters.lora.sites if adapters=lora": '["attn.q", "attn.v"]',
    }
    for outside in ("train.lr=0.5", "train.clip=2.0", "train.batch_size=12"):
        other = read(NESTED, outside)
        assert space.as_it_stands(other.search, other) is None
    other = read(NESTED, "adapters=[{name: lora, rank: 3, alpha: 8.0}]")
    assert space.as_it_stands(other.search, other) is None


def test_a_grid_has_every_point_once():
    search = read(GRID).search
    points = space.grid_points(search)
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
            r"vary the same section of the recipe",
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
