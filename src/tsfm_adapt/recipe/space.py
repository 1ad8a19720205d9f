"""Checks a search space against the recipe, and draws the values of a trial.

Every bound and every choice is tried when the recipe is read, so that a study cannot fail on one
after hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Protocol, Self

from pydantic import JsonValue

from tsfm_adapt.adapters.base import AdapterConfig, uses_native_loss
from tsfm_adapt.backbones.base import BackboneConfig
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads.base import HeadConfig
from tsfm_adapt.recipe.search import Raw, Search, Variable
from tsfm_adapt.recipe.trees import value_at


class Tunable(Protocol):
    """The part of `Recipe` that a search uses."""

    @property
    def backbone(self) -> BackboneConfig:
        """The recipe's section."""

    @property
    def adapters(self) -> Sequence[AdapterConfig]:
        """The recipe's list."""

    @property
    def head(self) -> HeadConfig | None:
        """The recipe's section."""

    def override(self, changes: Mapping[str, JsonValue]) -> Self:
        """A new recipe with dotted keys changed."""

    def without_search(self) -> Self:
        """What `train` makes of the recipe."""

    def as_tree(self) -> dict[str, JsonValue]:
        """The recipe as plain values, every default written out."""


class Draws(Protocol):
    """The part of `optuna.Trial` that draws values."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> float:
        """A number of a range."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """A whole number of a range."""

    def suggest_categorical(self, name: str, choices: tuple[Raw, ...]) -> Raw:
        """One of several."""


def draw(search: Search, trial: Draws) -> dict[str, JsonValue]:
    """Draws a trial: the changes to the recipe by path, to be applied in this order."""

    def pick(name: str, variable: Variable) -> Raw:
        if not variable.ranged:
            return trial.suggest_categorical(name, variable.raws)
        low, high, step = variable.low, variable.high, variable.step
        if variable.whole:
            assert isinstance(low, int)
            assert isinstance(high, int)
            whole_step = 1 if step is None else int(step)
            return trial.suggest_int(name, low, high, step=whole_step, log=variable.log)
        assert low is not None
        assert high is not None
        return trial.suggest_float(name, low, high, step=step, log=variable.log)

    return _changes(search.space, pick)


def grid_points(search: Search) -> list[dict[str, Raw]]:
    """The parameters of every grid point."""
    return _points(search.space)


def as_it_stands(search: Search, recipe: Tunable) -> dict[str, Raw] | None:
    """The parameters that reproduce the recipe itself; None where the space does not hold them."""
    plain = recipe.without_search()
    raws = _standing(search.space, plain)
    if raws is None:
        return None
    changes = _changes(search.space, _picking(raws))
    return raws if plain.override(changes) == plain else None


def check(search: Search, recipe: Tunable) -> None:
    """Validates the recipe at every bound and every choice.

    Raises:
        RecipeError: one breaks a rule of the recipe, or gives the loss another meaning.
    """
    plain = recipe.without_search()
    meaning = _loss_meaning(plain)
    for path, what, changes in _tries(search.space, {}):
        try:
            tried = plain.override(changes)
        except RecipeError as error:
            raise RecipeError(f"search.space.{path}: {what} breaks a rule: {error}") from error
        if search.metric == "loss" and _loss_meaning(tried) != meaning:
            raise RecipeError(
                f"search.space.{path}: {what} changes what the loss measures, so that the "
                "trials' losses cannot be compared. Set search.metric to score."
            )
    for path, variable, before in _ranges(search.space, {}):
        if not variable.whole or variable.step is not None:
            continue
        assert variable.low is not None
        if _accepts(plain, {**before, path: variable.low + 0.5}):
            raise RecipeError(
                f"search.space.{path}: low {variable.low} and high {variable.high} are whole "
                "numbers, but the value may be a fraction. Write them with a decimal point, "
                "or add step: 1."
            )


def _changes(
    space: Mapping[str, Variable], pick: Callable[[str, Variable], Raw], when: str = ""
) -> dict[str, JsonValue]:
    """The changes for the values that `pick` gives, nested spaces included."""
    changes: dict[str, JsonValue] = {}
    for path, variable in space.items():
        raw = pick(path + when, variable)
        changes[path] = variable.value(raw)
        if variable.options:
            inner = variable.options[str(raw)].space
            changes |= _changes(inner, pick, _when(path, str(raw), when))
    return changes


def _when(path: str, option: str, when: str) -> str:
    """The suffix that makes the names of an option's parameters unique."""
    return f" if {path}={option}{when}"


def _points(space: Mapping[str, Variable], when: str = "") -> list[dict[str, Raw]]:
    each: list[list[dict[str, Raw]]] = []
    for path, variable in space.items():
        of_this: list[dict[str, Raw]] = []
        for raw in variable.grid():
            inner = variable.options[str(raw)].space if variable.options else {}
            for point in _points(inner, _when(path, str(raw), when)):
                of_this.append({path + when: raw} | point)
        each.append(of_this)
    merged: list[dict[str, Raw]] = []
    for parts in product(*each):
        point = {}
        for part in parts:
            point |= part
        merged.append(point)
    return merged


def _standing(
    space: Mapping[str, Variable], recipe: Tunable, when: str = ""
) -> dict[str, Raw] | None:
    """The parameters of the recipe's own values."""
    tree = recipe.as_tree()
    raws: dict[str, Raw] = {}
    for path, variable in space.items():
        if variable.options:
            taken = _option_taken(path, variable, recipe, when)
            if taken is None:
                return None
            raws |= taken
            continue
        try:
            raws[path + when] = variable.raw(value_at(tree, path))
        except LookupError:
            return None
    return raws


def _option_taken(
    path: str, variable: Variable, recipe: Tunable, when: str
) -> dict[str, Raw] | None:
    for name, option in variable.options.items():
        inner = _standing(option.space, recipe, _when(path, name, when))
        if inner is None:
            continue
        raws: dict[str, Raw] = {path + when: name}
        raws.update(inner)
        if recipe.override(_changes({path: variable}, _picking(raws), when)) == recipe:
            return raws
    return None


def _picking(raws: Mapping[str, Raw]) -> Callable[[str, Variable], Raw]:
    return lambda name, _: raws[name]


def _tries(
    space: Mapping[str, Variable], before: dict[str, JsonValue]
) -> Iterator[tuple[str, str, dict[str, JsonValue]]]:
    """Each path, a label of the value, and the changes that set it."""
    for path, variable in space.items():
        for what, value in variable.edges():
            yield path, what, {**before, path: value}
        for option in variable.options.values():
            yield from _tries(option.space, {**before, path: option.value})


def _ranges(
    space: Mapping[str, Variable], before: dict[str, JsonValue]
) -> Iterator[tuple[str, Variable, dict[str, JsonValue]]]:
    for path, variable in space.items():
        if variable.ranged:
            yield path, variable, before
        for option in variable.options.values():
            yield from _ranges(option.space, {**before, path: option.value})


def _accepts(recipe: Tunable, changes: Mapping[str, JsonValue]) -> bool:
    try:
        recipe.override(changes)
    except RecipeError:
        return False
    return True


def _loss_meaning(recipe: Tunable) -> object:
    """What the scale of the loss depends on: losses are comparable only where it is equal.

    A backbone's own loss is in its own scale; see `adapters.base.uses_native_loss`.
    """
    adapters = [entry.build() for entry in recipe.adapters]
    head = None
    if recipe.head is not None:
        head = (recipe.head.name, getattr(recipe.head, "quantiles", None))
    return recipe.backbone, head, uses_native_loss(adapters, headed=head is not None)
